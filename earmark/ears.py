"""Everything that hears, opened together: what `serve` and `reanalyse` have in common."""

from __future__ import annotations

from collections.abc import AsyncIterator, Awaitable, Callable, Mapping, Sequence
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass

from core.clock import Clock
from core.config import Settings
from core.errors import Misconfigured
from core.feed import Feed, Questions
from core.log import Log
from core.ports import Directory, VisibilityCheck
from earmark.deciding import Judge
from earmark.hearing import Hearing, Voucher
from earmark.listening import Listening, settle_listening
from earmark.reanalysis import PutInPlace, Reanalysis
from earmark.rehearing import Patience, Rehearing
from firehose.blob import AudioFetcher
from firehose.download import FetchLimits
from firehose.guard import Guard
from firehose.manners import Manners
from models.crew import Crew
from models.prompts import feed_queries
from store import Store, jobs
from store.generations import Generation
from store.index import VectorIndex


@dataclass(frozen=True, slots=True)
class Ears:
    """Open while the context of `open_ears` lasts."""

    settings: Settings
    store: Store
    listening: Listening
    crew: Crew
    hearing: Hearing
    judge: Judge
    clock: Clock
    log: Log

    async def open_index(self, generation: Generation) -> VectorIndex:
        """The vector index of a generation, complete."""
        return await self.listening.open_index(self.store, self.settings.data / "index", generation)

    async def ask_moods(self, generation: Generation, feeds: Sequence[Feed]) -> Questions:
        """What the feeds ask of a generation's vectors."""
        return await feed_queries(self.crew, feeds, self.listening.packs_of(generation))

    def reanalysis(self, prepare: Callable[[Generation], Awaitable[PutInPlace]], *, background: bool) -> Reanalysis:
        """What moves the corpus to the packs that were chosen."""
        queue = self.settings.queue
        rehearing = Rehearing(
            store=self.store,
            hearing=self.hearing,
            judge=self.judge,
            clock=self.clock,
            log=self.log,
            patience=Patience(queue.max_attempts, queue.retry_seconds),
        )
        return Reanalysis(
            store=self.store,
            rehearing=rehearing,
            judge=self.judge,
            prepare=prepare,
            clock=self.clock,
            log=self.log,
            share=self.settings.listening.reanalyse_share if background else 1.0,
            yielding=background,
        )


async def open_store(settings: Settings, *, clock: Clock) -> Store:
    """The store of these settings, made if need be. Raises Misconfigured, Corrupt."""
    try:
        settings.data.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        remedy = f"cannot make {settings.data} ({error.strerror}); name a folder that Earmark may write to"
        raise Misconfigured("storage.folder", remedy) from None
    return await Store.open(settings.database, clock=clock)


@asynccontextmanager
async def open_ears(
    settings: Settings,
    *,
    directory: Directory,
    guard: Guard,
    manners: Manners,
    vouching: Callable[[Store], Voucher],
    visibility: Mapping[str, VisibilityCheck],
    judge: Judge,
    children: int,
    user_agent: str,
    clock: Clock,
    log: Log,
) -> AsyncIterator[Ears]:
    """The store (migrated, its leases given back), the packs that listen, warm children, and a way to fetch audio.

    Raises Misconfigured (with the remedy) and Corrupt.
    """
    listening = settings.listening
    async with AsyncExitStack() as stack:
        store = await open_store(settings, clock=clock)
        stack.push_async_callback(store.close)
        async with store.write() as tx:  # one process, one store: whoever held a lease is gone
            await jobs.reclaim(tx, now_us=clock.now_us())
        settled = await settle_listening(store, settings, clock=clock, log=log)
        audio = AudioFetcher(
            directory,
            guard,
            folder=settings.data / "listening",
            clock=clock,
            user_agent=user_agent,
            manners=manners,
            limits=FetchLimits(max_bytes=listening.max_bytes, deadline_seconds=listening.fetch_seconds),
        )
        crew = Crew(
            home=settings.home,
            packs=tuple(settled.packs.folders),
            catalogue=listening.pack_catalogue,
            children=children,
            deadline_seconds=listening.deadline_seconds,
            max_seconds=listening.max_seconds,
        )
        await stack.enter_async_context(audio)
        stack.push_async_callback(crew.close)
        await crew.start()
        hearing = Hearing(
            store=store, audio=audio, crew=crew, voucher=vouching(store), visibility=visibility, clock=clock
        )
        yield Ears(settings, store, settled, crew, hearing, judge, clock, log)
