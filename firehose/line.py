"""One websocket connection, from the side that reads it: messages in order, bounded, judged as they come (RFC 6455).

picows cuts the bytes into frames and calls us with each of them, which costs less than a coroutine's step for each.
"""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Callable

from picows import WSCloseCode, WSFrame, WSListener, WSMsgType, WSProtocolError, WSTransport

CLOSE_SECONDS = 2.0
_BINARY, _TEXT, _MORE = WSMsgType.BINARY, WSMsgType.TEXT, WSMsgType.CONTINUATION  # looked up once, not for each frame


class Dropped(Exception):
    """This connection is over. `poison`: because of a frame that will come again at the same cursor."""

    def __init__(self, reason: str, *, poison: bool = False) -> None:
        super().__init__(reason)
        self.poison = poison


class Line(WSListener):
    """`skim` judges every whole binary message as it comes: the number of one that only moves the reader forward, as
    most do, else None. It is told whether the reader has read everything and the move is made at once; if not, only
    the numbers wait among the unread messages, and the reader's `catch_up` gets the first and last of a run in turn.
    """

    __slots__ = (
        "_begun", "_catch_up", "_gone", "_over", "_parts", "_paused", "_reader", "_skim", "_text",
        "_transport", "_waiting", "_wire", "_writable", "limit", "messages", "signs",
    )  # fmt: skip

    def __init__(
        self, skim: Callable[[bytes, bool], int | None], catch_up: Callable[[int, int], None], *, limit: int
    ) -> None:
        """`limit`: the most bytes of a message, in however many frames."""
        self.messages = 0  # that came
        self.signs = 0  # of life: pings and pongs
        self._skim = skim
        self._catch_up = catch_up
        self.limit = limit
        self._waiting: deque[bytes | str | list[int]] = deque()  # for a busy reader: messages, and runs of skimmed ones
        self._paused = False  # nothing more is read until the reader has all that waits
        self._reader: asyncio.Future[bytes | str | None] | None = None  # it has read everything; None: look again
        self._begun = False  # a message in several frames: what came of it, and whether it is text
        self._parts = bytearray()
        self._text = False
        self._gone: asyncio.Future[None] | None = None  # the connection, when there was one
        self._over: Exception | None = None
        self._writable = asyncio.Event()
        self._writable.set()

    @property
    def idle(self) -> bool:
        """Whether the reader waits for the upstream, not the upstream for the reader."""
        return self._reader is not None

    async def receive(self) -> bytes | str:
        """The next message that is not skimmed. Raises what ended the connection, after all that came before."""
        while True:
            while self._waiting:
                message = self._waiting.popleft()
                if not isinstance(message, list):
                    return message
                self._catch_up(*message)
            if self._paused:
                self._paused = False
                if not self._wire.is_closing():
                    self._wire.resume_reading()
            if self._over is not None:
                raise self._over
            self._reader = asyncio.get_running_loop().create_future()
            try:
                next_one = await self._reader
            finally:
                self._reader = None
            if next_one is not None:
                return next_one

    async def send(self, text: str) -> None:
        """Raises ConnectionError when the connection is over. Waits as long as the other side does not read."""
        await self._writable.wait()
        if self._over is not None:
            raise ConnectionError(str(self._over))
        self._transport.send(_TEXT, text)

    def ping(self) -> None:
        if self._over is None and self._writable.is_set():
            self._transport.send_ping()

    def end(self, error: Exception) -> None:
        """What the reader is told when it has read the rest. The first reason counts."""
        if self._over is None:
            self._over = error
            self._writable.set()
            self._wake(None)

    async def close(self) -> None:
        """Say goodbye, and do not wait long for an answer."""
        self.end(Dropped("closed"))
        try:
            if self._gone is not None:
                if not self._wire.is_closing():
                    self._transport.send_close(WSCloseCode.OK)
                    self._transport.disconnect()
                await asyncio.wait((self._gone,), timeout=CLOSE_SECONDS)
        finally:
            self.cut()

    def cut(self) -> None:
        """Hang up at once, or as soon as the connection stands."""
        self.end(Dropped("cut"))
        if self._gone is not None:
            self._transport.disconnect(graceful=False)

    # --- called by picows ------------------------------------------------------------------------------------------

    def on_ws_connected(self, transport: WSTransport) -> None:
        self._transport = transport
        self._wire = transport.underlying_transport
        self._gone = asyncio.ensure_future(transport.wait_disconnected())
        self._gone.add_done_callback(self._disconnected)
        if self._over is not None:
            self.cut()

    def on_ws_frame(self, transport: WSTransport, frame: WSFrame) -> None:
        try:
            if self._over is None:  # nothing moves us past a frame that ended the connection
                if frame.rsv1 or frame.rsv2 or frame.rsv3:
                    raise Dropped("a frame has reserved bits set, and no extension was agreed on")
                kind, data, last = frame.msg_type, frame.get_payload_as_bytes(), frame.fin
                if kind is _BINARY and last and not self._begun:
                    self._judge(data)
                elif kind is _BINARY or kind is _TEXT or kind is _MORE:
                    self._assemble(kind, data, last=bool(last))
                else:
                    self._heed(kind, data)
        except Exception as error:  # picows would log it; it is for the reader
            self.end(error)

    def pause_writing(self) -> None:
        self._writable.clear()

    def resume_writing(self) -> None:
        self._writable.set()

    # --- and what follows from it ----------------------------------------------------------------------------------

    def _judge(self, message: bytes) -> None:
        """A whole binary message. This runs for every one there is. Raises Dropped."""
        number = self._skim(message, self._reader is not None)
        if number is None:
            self._keep(message)
            return
        self.messages += 1
        if self._reader is None:
            before = self._waiting[-1] if self._waiting else None
            if isinstance(before, list):
                before[1] = number
            else:
                self._waiting.append([number, number])

    def _assemble(self, kind: WSMsgType, data: bytes, *, last: bool) -> None:
        """Raises Dropped."""
        if (kind is _MORE) is not self._begun:
            raise Dropped("a message within a message" if self._begun else "the rest of a message that never began")
        if not self._begun:
            self._begun, self._text = True, kind is _TEXT
        if len(self._parts) + len(data) > self.limit:
            raise Dropped(f"a message has more than {self.limit} bytes", poison=True)
        self._parts += data
        if not last:
            return
        whole = bytes(self._parts)
        self._begun, self._parts = False, bytearray()
        if not self._text:
            self._judge(whole)
            return
        try:
            self._keep(whole.decode())
        except UnicodeDecodeError:
            raise Dropped("a text message is not UTF-8") from None

    def _heed(self, kind: WSMsgType, data: bytes) -> None:
        """A control frame. The bytes that we could not send yet are bounded: who does not read gets no more pongs."""
        if kind is WSMsgType.CLOSE:
            self.end(Dropped(f"closed by the server ({int.from_bytes(data[:2]) if data else 1005})"))
        else:
            self.signs += 1
            if kind is WSMsgType.PING and self._writable.is_set():
                self._transport.send_pong(data)

    def _keep(self, message: bytes | str) -> None:
        """For the reader: at once if it waits for it."""
        if len(message) > self.limit:
            raise Dropped(f"a message has more than {self.limit} bytes", poison=True)
        self.messages += 1
        if not self._wake(message):
            self._waiting.append(message)
            if not self._paused and not self._wire.is_closing():  # asyncio's TLS fails at a closed one
                self._paused = True
                self._wire.pause_reading()

    def _wake(self, message: bytes | str | None) -> bool:
        """Whether there was a reader to wake."""
        reader, self._reader = self._reader, None
        if reader is None or reader.done():
            return False
        reader.set_result(message)
        return True

    def _disconnected(self, gone: asyncio.Future[None]) -> None:
        """picows says here how the other side broke the protocol, if it did."""
        error = None if gone.cancelled() else gone.exception()
        if isinstance(error, WSProtocolError):
            self.end(Dropped(f"websocket error: {error}", poison=error.code == WSCloseCode.MESSAGE_TOO_BIG))
        else:
            self.end(Dropped("closed by the server (1006)"))
