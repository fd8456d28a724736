"""The numbers of ranking, with where they come from."""

from __future__ import annotations

from dataclasses import dataclass, field

from feedgen.posts import PostRules

DAY_US = 86_400_000_000
SLOT_US = DAY_US // 4  # an order holds for six hours (FEEDS 3)


@dataclass(frozen=True, slots=True)
class Rules:
    """What holds for every feed. Windows are (most, of so many consecutive entries).

    `absolute_score` admits while the corpus is too small for percentiles. Tags that a mood asks for go together, so
    scores spread wider than a single tag does: sd 1.5 to 4 over the pieces measured, where a piece of another mood
    scored below 0.3 and one of the mood itself above 0.85, but for neighbours (metal is danceable). 0.75 lies between.
    """

    percentile_from: int = 50  # scored tracks; below it scores are absolute (issue 2)
    absolute_score: float = 0.75  # standard deviations
    percentile: float = 0.85  # FEEDS 2.4
    prompt_share: float = 0.6  # FEEDS 2.3: of the score, the rest is the tags'
    second_opinion: float = 0.60  # FEEDS 2.3: the least percentile in each of the two
    pool: int = 400  # FEEDS 3: the best by prompts, as many by tags ...
    most: int = 500  # ... together: of more, a tenth would not have its turn within a month
    most_of_artist: int = 30  # of these, for the same reason: caps leave an artist one or two places in a page
    new_us: int = 3 * DAY_US  # FEEDS 3: tracks as new as this are in the pool whatever their score
    freshness: float = 0.3  # FEEDS 3: a new track's score counts up to 30 % more
    freshness_half_life_days: float = 14.0
    popularity: float = 0.05  # FEEDS 3: at most
    popular_likes: int = 100  # that earn all of it
    damping: float = 0.1  # FEEDS 3, across feeds: what an artist loses at most where it is not their turn
    speech: float = 0.5  # share of a track that may be speech (FEEDS 2.3)
    decay: float = 40.0  # FEEDS 3: ranks over which the chance to be drawn falls to 1/e ...
    deep_decay: float = 48.0  # FEEDS 4: the same of deep cuts ...
    decay_share: float = 0.2  # ... or this part of the admitted, if that is more
    exploration: float = 0.15  # FEEDS 3: share of places that ignore the rank
    relevance: float = 0.7  # FEEDS 3: lambda of MMR ...
    diversified: int = 300  # ... over so many
    diversify_from: int = 300  # FEEDS 6: tracks in the corpus
    near: tuple[int, int] = (1, 10)  # of an artist
    far: tuple[int, int] = (2, 50)  # of an artist
    album: tuple[int, int] = (1, 20)
    song: tuple[int, int] = (1, 50)  # versions of one song of an artist
    style: tuple[int, int] = (4, 10)
    considered: int = 1_500  # tracks that are looked at for an order: the rest waits for another draw
    max_entries: int = 500
    posts: PostRules = field(default_factory=PostRules)
