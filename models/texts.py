"""Places texts in the space that audio and text share, in a child of its own that comes when asked and goes when idle.

The text tower is large and rarely needed: listening children never load it, and nobody holds it for long.
"""

from __future__ import annotations

import asyncio
from collections import OrderedDict
from collections.abc import Sequence

import numpy as np

from core.analysis import Vector
from core.errors import ChildCrashed, Deadline, Transient
from models.describe import to_unit
from models.process import ChildProcess
from models.prompt_book import PromptBook
from models.wire import BadFrame, Embed, Embedded

MAX_TEXTS = 256
MAX_CHARACTERS = 1_000  # the tower reads 77 tokens
_DIMENSIONS = 512
_PER_REQUEST = 32  # both frames stay far below the wire's bound
_REMEMBERED = 2_048  # vectors, 4 MB
_IDLE_SECONDS = 60.0


class Texts:
    """`embed` from as many tasks as you like; `close` it."""

    def __init__(
        self, child: ChildProcess, book: PromptBook, *, deadline_seconds: float, idle_seconds: float = _IDLE_SECONDS
    ) -> None:
        self._child = child
        self._book = book
        self._kept: dict[str, Vector] | None = None  # what the book holds, once read
        self._deadline_seconds = deadline_seconds
        self._idle_seconds = idle_seconds
        self._turn = asyncio.Lock()
        self._known: OrderedDict[str, Vector] = OrderedDict()
        self._retirement: asyncio.Task[None] | None = None
        self._closed = False

    @property
    def pid(self) -> int | None:
        """None while no child is at work or waiting."""
        return self._child.pid

    async def start(self) -> None:
        """Have the tower test itself. Raises Misconfigured."""
        async with self._turn:
            await self._wake()
            self._retire_later()

    async def embed(self, texts: Sequence[str], *, keep: bool = False) -> Vector:
        """f32 [texts, 512] of length 1 each; `keep` has them in the book for the next start.

        Raises ChildCrashed, Deadline, Misconfigured, Transient (closed).
        """
        if len(texts) > MAX_TEXTS:
            raise ValueError(f"{len(texts)} texts at once, the limit is {MAX_TEXTS}")
        wanted = [_clean(text)[:MAX_CHARACTERS] for text in texts]
        async with self._turn:
            if self._kept is None:
                self._kept = await asyncio.to_thread(self._book.read)
            found = {text: self._kept[text] for text in wanted if text in self._kept}
            found |= {text: self._known[text] for text in wanted if text in self._known}
            missing = list(dict.fromkeys(text for text in wanted if text not in found))
            for at in range(0, len(missing), _PER_REQUEST):
                found |= await self._ask(missing[at : at + _PER_REQUEST])
            for text in wanted:
                self._known[text] = found[text]
                self._known.move_to_end(text)
            while len(self._known) > _REMEMBERED:
                self._known.popitem(last=False)
            if keep and (news := {text: found[text] for text in wanted if text not in self._kept}):
                self._kept |= news
                await asyncio.to_thread(self._book.add, news)
        return np.stack([found[text] for text in wanted]) if wanted else np.empty((0, _DIMENSIONS), np.float32)

    async def close(self) -> None:
        """End the child now."""
        self._closed = True
        if self._retirement is not None:
            self._retirement.cancel()
        await self._child.kill()

    async def _ask(self, texts: list[str]) -> dict[str, Vector]:
        await self._wake()
        try:
            answer = await self._child.ask(Embed(texts), self._deadline_seconds)
            if not isinstance(answer, Embedded) or len(answer.vectors) != len(texts):
                raise BadFrame("the text child answered something else")
            return {text: to_unit(raw, _DIMENSIONS) for text, raw in zip(texts, answer.vectors, strict=True)}
        except (ChildCrashed, BadFrame) as crash:
            await self._child.kill()
            self._refuse_closed()
            raise ChildCrashed(f"texts: {crash}") from crash
        except TimeoutError as late:
            raise Deadline(f"texts: not placed in {self._deadline_seconds:.0f} s") from late
        finally:
            self._retire_later()

    async def _wake(self) -> None:
        self._refuse_closed()
        if self._retirement is not None:
            self._retirement.cancel()
        if self._child.pid is None:
            await self._child.start()

    def _retire_later(self) -> None:
        if not self._closed:
            self._retirement = asyncio.create_task(self._retire(), name="text child's retirement")

    async def _retire(self) -> None:
        await asyncio.sleep(self._idle_seconds)
        async with self._turn:
            await self._child.kill()

    def _refuse_closed(self) -> None:
        if self._closed:
            raise Transient("listening has stopped")


def _clean(text: str) -> str:
    """Unicode: surrogates (from JSON's escapes) become the character that two of them mean, or U+FFFD."""
    return text.encode("utf-16", "surrogatepass").decode("utf-16", "replace")
