"""`com.atproto.sync.subscribeRepos` of a relay or PDS, with verification of the commits that matter."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import Literal

from core.clock import Clock
from core.errors import Permanent, Transient
from core.frames import BadFrame, ErrorFrame
from core.keys import PublicKey
from core.log import Log
from core.ports import Directory
from firehose.events import Event, Interest, RecordEvent, RepoFrame, SeenEvent, decode_repo_frame
from firehose.socket import Dropped, ReconnectingSource, stream_origin
from firehose.verify import BadCommit, verify_commit

PATH = "/xrpc/com.atproto.sync.subscribeRepos"
SEEN_SECONDS = 1.0  # the cursor moves at least this often past frames of no interest


class Relay(ReconnectingSource):
    """One relay. With a directory, a commit that fails its proof is dropped and counted; one whose account cannot be
    looked up now passes unverified, one without a working identity is dropped (P147).

    `on_future_cursor` (P161): "wait" alerts and keeps asking with the stored cursor; "live" goes on from now, with a
    gap.
    """

    def __init__(
        self,
        url: str,
        interest: Interest,
        *,
        clock: Clock,
        log: Log,
        directory: Directory | None = None,
        user_agent: str = "earmark",
        allow_loopback: bool = False,
        on_future_cursor: Literal["wait", "live"] = "wait",
        frame_timeout_seconds: float | None = 90.0,
        pong_timeout_seconds: float = 30.0,
        retry_base_seconds: float = 1.0,
    ) -> None:
        origin = stream_origin(url, allow_loopback=allow_loopback)
        super().__init__(
            f"relay:{origin.partition('://')[2]}{PATH}",
            clock=clock,
            log=log,
            user_agent=user_agent,
            frame_timeout_seconds=frame_timeout_seconds,
            pong_timeout_seconds=pong_timeout_seconds,
            retry_base_seconds=retry_base_seconds,
        )
        self._endpoint = origin + PATH
        self._interest = interest
        self._directory = directory
        self._on_future_cursor = on_future_cursor
        self._go_live = False
        self._newest: int | None = None  # in this connection
        self._last_seen = 0.0

    def _address(self, position: int | None) -> str:
        self._newest = None
        if position is None or self._go_live:
            return self._endpoint
        return f"{self._endpoint}?cursor={position}"

    async def _read(self, frame: bytes | str) -> tuple[int | None, Sequence[Event]]:
        if isinstance(frame, str):
            raise BadFrame("a text message on a binary stream")
        decoded = decode_repo_frame(frame, self._interest)
        if decoded is None:
            return None, ()
        if isinstance(decoded, int):
            return await self._take(decoded, None)
        if decoded.position is not None:
            return await self._take(decoded.position, decoded)
        name, message = decoded.notice or ("", "")
        return None, (self._gap(name, message),) if name == "OutdatedCursor" else ()

    async def _take(self, seq: int, decoded: RepoFrame | None) -> tuple[int | None, Sequence[Event]]:
        """The events of a numbered frame, in the right order and proven."""
        if self._newest is not None and seq <= self._newest:
            raise Dropped(f"sequence number {seq} after {self._newest}")  # P162
        self._newest = seq
        gap: tuple[Event, ...] = ()
        if self._go_live:
            self._go_live = False
            gap = (self._gap("FutureCursor", f"went on from {seq}"),)
            self._position = None
        if self._position is not None and seq <= self._position:
            self.health.refused["stale"] += 1
            return None, ()
        events = () if decoded is None else await self._proven(decoded)
        now = self._clock.monotonic()
        if not events and now - self._last_seen >= SEEN_SECONDS:
            events = (SeenEvent(seq),)
        if events:
            self._last_seen = now
        return seq, (*gap, *events)

    def _lost(self, error: Exception) -> None:
        if isinstance(error, ErrorFrame) and error.name == "FutureCursor":
            self._log.error(
                "the upstream does not know our cursor yet: was it replaced?",
                position=self._position,
                policy=self._on_future_cursor,
            )
            self._go_live = self._on_future_cursor == "live"

    async def _proven(self, decoded: RepoFrame) -> tuple[Event, ...]:
        """The frame's events, marked as verified; none when the commit is unusable or its proof fails."""
        if decoded.refused is not None:
            self.health.refused["unusable"] += 1
            self._log.warning("commit ignored", reason=decoded.refused, seq=decoded.position)
        records = [event for event in decoded.events if isinstance(event, RecordEvent)]
        # In a collection with needles, a delete, or an update that holds none, is any stranger's: it costs no identity
        # look-up and proves nothing.
        if self._directory is None or not any(
            event.record is not None or event.collection not in self._interest.needles for event in records
        ):
            return decoded.events
        did = records[0].did
        try:
            await self._verify(decoded, did, self._directory)
        except BadCommit as error:
            return self._refuse(did, error.step, str(error), decoded.position)
        except Permanent as error:
            return self._refuse(did, error.reason, str(error), decoded.position)
        except Transient as error:
            self._log.warning("commit passes unverified", did=did, reason=str(error), seq=decoded.position)
            return decoded.events
        return tuple(replace(event, verified=True) for event in records)

    async def _verify(self, decoded: RepoFrame, did: str, directory: Directory) -> None:
        try:
            self._check(decoded, (await directory.resolve(did)).signing_key)
        except BadCommit as error:
            if error.step != "sig":
                raise
            self._check(decoded, (await directory.resolve(did, refresh=True)).signing_key)  # P142: once

    def _check(self, decoded: RepoFrame, key: PublicKey | None) -> None:
        assert decoded.commit is not None
        assert decoded.car is not None
        if key is None:
            raise BadCommit("sig", "the account has no signing key")
        verify_commit(decoded.commit, decoded.car, key, now_us=self._clock.now_us())

    def _refuse(self, did: str, step: str, reason: str, seq: int | None) -> tuple[Event, ...]:
        self.health.refused[step] += 1
        self._log.warning("commit refused", did=did, reason=reason, seq=seq)
        return ()
