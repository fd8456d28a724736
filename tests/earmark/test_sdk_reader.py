"""Our label stream and queries as the Python SDK's own clients read them, over real sockets."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from typing import Any

import libipld
import numpy as np
import pytest
import pytest_asyncio
from atproto import AsyncFirehoseSubscribeLabelsClient, models, parse_subscribe_labels_message
from atproto_crypto.verify import verify_signature

from core.keys import SigningKey
from tests.earmark.test_service import Live, joined, running, techno, wav

__all__ = ["techno"]
pytestmark = pytest.mark.asyncio(loop_scope="module")
STRICT = {"strict_string_format": True}


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def live(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Live]:
    folder = tmp_path_factory.mktemp("sdk")
    async with joined(folder) as (network, settings), running(network, settings) as live:
        yield live


class Reader:
    """The SDK's client until it has `wanted` labels or has been told an error."""

    def __init__(self, url: str, cursor: int | None, wanted: int) -> None:
        uri = url.replace("http", "ws", 1) + "/xrpc"
        self._client = AsyncFirehoseSubscribeLabelsClient({} if cursor is None else {"cursor": cursor}, base_uri=uri)
        self._wanted = wanted
        self.seqs: list[int] = []
        self.labels: list[Any] = []
        self.bodies: list[dict[str, Any]] = []
        self.failed: list[BaseException] = []

    async def run(self) -> None:
        await asyncio.wait_for(self._client.start(self._take, self._fail), 60)
        assert self.failed == []

    async def _take(self, frame: Any) -> None:
        message = parse_subscribe_labels_message(frame)
        assert isinstance(message, models.ComAtprotoLabelSubscribeLabels.Labels)
        self.seqs.append(message.seq)
        self.labels += message.labels
        self.bodies += frame.body["labels"]
        self._client.update_params({"cursor": message.seq})  # P243
        if len(self.labels) >= self._wanted:
            await self._client.stop()

    async def _fail(self, error: BaseException) -> None:
        """Else the client prints what our callback raised and goes on (P245)."""
        self.failed.append(error)
        await self._client.stop()


async def test_the_sdk_follows_the_stream_and_its_signatures_hold(live: Live, techno: np.ndarray[Any, Any]) -> None:
    """P1, P7, P63-P65, P69, P70: history, then live events, decoded by the SDK's models and verified by its crypto."""
    first = live.track(wav(techno))
    await live.ended(first)
    reader = Reader(live.url, 0, wanted=3)
    reading = asyncio.create_task(reader.run())
    second = live.track(wav(techno * 0.97))
    await live.ended(second)
    live.network.delete_record(live.artist, first.collection, first.rkey)
    await reading
    told = [(label.uri, label.val, bool(label.neg)) for label in reader.labels]
    assert told == [
        (str(first), "electronic", False),
        (str(second), "electronic", False),
        (str(first), "electronic", True),
    ]
    assert reader.seqs == [1, 2, 3]
    secret = live.service.settings.labeler.key
    assert secret is not None
    did_key = SigningKey.from_hex(secret.get_secret_value()).public.did_key
    for label, body in zip(reader.labels, reader.bodies, strict=True):
        assert models.ComAtprotoLabelDefs.Label.model_validate(body, context=STRICT) == label
        signed = {name: value for name, value in body.items() if name != "sig"}
        assert verify_signature(did_key, libipld.encode_dag_cbor(signed), body["sig"])
        assert not verify_signature(did_key, libipld.encode_dag_cbor(signed | {"val": "jazz"}), body["sig"])
    again = Reader(live.url, 2, wanted=1)
    await again.run()
    assert again.seqs == [3]


async def test_p71_the_sdk_is_told_of_a_cursor_in_the_future(live: Live) -> None:
    with pytest.raises(Exception, match="FutureCursor"):
        await Reader(live.url, 10**9, wanted=1).run()


async def test_the_sdks_models_take_what_query_labels_says(live: Live, techno: np.ndarray[Any, Any]) -> None:
    """But for `sig`, whose JSON form the SDK does not know (PROTOCOL J1)."""
    await live.ended(live.track(wav(techno * 0.94)))
    answer = (await live.client.get("/xrpc/com.atproto.label.queryLabels", params={"uriPatterns": "*"})).json()
    for label in answer["labels"]:
        assert set(label.pop("sig")) == {"$bytes"}
    read = models.ComAtprotoLabelQueryLabels.Response.model_validate(answer, context=STRICT)
    assert [label.val for label in read.labels] == ["electronic"] * len(answer["labels"])
    assert len(read.labels) >= 1
