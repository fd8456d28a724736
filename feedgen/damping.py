"""Artists whom several mood feeds admit: so that readers of these do not meet the same ones everywhere (FEEDS 3)."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable
from dataclasses import replace

from core.feed import Feed, FeedKind
from feedgen.corpus import Corpus
from feedgen.ranking import Ledger
from feedgen.rules import Rules
from feedgen.scoring import admit


def share_artists(feeds: Iterable[Feed], corpus: Corpus, *, now_us: int, rules: Rules, least: int) -> Corpus:
    """The corpus with what `measure_damping` asks of it: which mood feeds admit tracks of an artist, if more than one.

    Feeds of fewer than `least` tracks are dark and do not count.
    """
    wanted: defaultdict[str, list[str]] = defaultdict(list)
    for feed in feeds:
        if feed.kind is not FeedKind.MOOD:
            continue
        admitted = admit(feed, corpus, now_us=now_us, rules=rules, ledger=Ledger()).candidates
        if len(admitted) >= least:
            for artist in {one.track.did for one in admitted}:
                wanted[artist].append(feed.rkey)
    return replace(corpus, wanted={artist: tuple(rkeys) for artist, rkeys in wanted.items() if len(rkeys) > 1})
