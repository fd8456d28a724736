"""Which packs listen, and for which generations: settled once, when the process that writes starts."""

from __future__ import annotations

import asyncio
from dataclasses import dataclass
from pathlib import Path
from typing import cast

from core.analysis import DIMENSIONS, PackName, Space
from core.clock import Clock
from core.config import Settings
from core.errors import Corrupt, Misconfigured
from core.log import Log
from models.pack import PackSet, select
from store import Store, generations
from store.checkpoint import sweep_checkpoints
from store.generations import Generation, Living
from store.index import VectorIndex

_JUDGES_OF_MOODS = frozenset({Space.CLAP, Space.EFFNET_TAGS, Space.MUSICNN_TAGS})  # spaces; any one will do


@dataclass(frozen=True, slots=True)
class Listening:
    """`packs` are those that listen: the chosen ones, and while these are not serving yet, those that still serve."""

    packs: PackSet
    living: Living  # as it was at the start

    def packs_of(self, generation: Generation) -> PackSet:
        """Those packs of a generation that are here in the very versions that it is of."""
        return PackSet(
            tuple(one for one in self.packs.installed if generation.packs.get(one.pack.name) == one.pack_hash)
        )

    async def open_index(self, store: Store, folder: Path, generation: Generation) -> VectorIndex:
        """The index of a generation. The space that moods are asked in is there even if nothing is in it."""
        spaces: dict[Space, int] = dict(generation.spaces)
        moods = self.packs_of(generation).moods
        return await VectorIndex.open(
            store, folder, spaces=spaces | {moods: DIMENSIONS[moods]}, generation=generation.name
        )


async def settle_listening(store: Store, settings: Settings, *, clock: Clock, log: Log) -> Listening:
    """Verify the packs, note a new generation if they make one. Raises Misconfigured (with the remedy) and Corrupt."""
    home, listening = settings.home, settings.listening
    chosen = await asyncio.to_thread(select, home, listening.packs, catalogue=listening.pack_catalogue)
    async with store.write() as tx:
        living = await generations.arrange(tx, chosen.hashes, now_us=clock.now_us())
    await asyncio.to_thread(sweep_checkpoints, settings.data / "index", [one.name for one in living.both])
    if living.coming is None:
        return Listening(chosen, living)
    both, obstacle = await asyncio.to_thread(_with_serving, settings, chosen, living.serving)
    settled = Listening(both or chosen, living)
    how = "new tracks enter both"
    if obstacle is not None:
        how = "new tracks get labels now and enter feeds with the switch"
        dark = not _JUDGES_OF_MOODS & {*settled.packs_of(living.serving).spaces}
        log.error(
            "the packs that serve cannot listen any more",
            packs=",".join(living.serving.packs),
            why=obstacle,
            meanwhile=how,
            feeds="all dark until the switch: the pack that moods are asked with is gone" if dark else "go on",
        )
    if living.building is not None:
        log.info("another set of packs is being moved to", packs=",".join(chosen.hashes), meanwhile=how)
    elif living.coming.reason == generations.ABANDONED:
        log.warning("the move to other packs was abandoned; earmark reanalyse --retry takes it up again", meanwhile=how)
    else:
        log.error(
            "the move to other packs has failed; earmark reanalyse --retry takes it up again",
            packs=",".join(chosen.hashes),
            reason=living.coming.reason,
            meanwhile=how,
        )
    return settled


def _with_serving(settings: Settings, chosen: PackSet, serving: Generation) -> tuple[PackSet | None, str | None]:
    """The chosen packs and those that serve, or why these cannot listen as they did."""
    names = dict.fromkeys((*chosen.hashes, *serving.packs))
    try:
        both = select(
            settings.home, cast("tuple[PackName, ...]", tuple(names)), catalogue=settings.listening.pack_catalogue
        )
    except (Misconfigured, Corrupt) as error:
        return None, str(error)
    if serving.is_heard_by(both.hashes):
        return both, None
    changed = [name for name, pack_hash in serving.packs.items() if both.hashes.get(name) != pack_hash]
    if changed:
        return None, f"another version of {', '.join(changed)} is installed"
    return None, "this version of Earmark hears differently with the same packs"
