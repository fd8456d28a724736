"""The HTTP edge, over real sockets: errors, CORS, HEAD, health, parameters, subscriptions (P192-P202, P63-P81)."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator

import aiohttp
import pytest
from aiohttp.test_utils import TestClient, TestServer

from core.clock import SystemClock
from core.dagcbor import decode_multi
from core.errors import Unreachable, XrpcError
from core.log import set_up
from core.metrics import Metrics
from core.sections import Limits as LimitSettings
from core.xrpc import Batch, Call, Param, Procedure, Query, Subscription, message_frame, websocket_message
from earmark.limits import Limits
from earmark.web import MAX_BODY_BYTES, Web


async def _echo(call: Call) -> dict[str, object]:
    if call.params["fail"] == "bug":
        raise RuntimeError("the password is hunter2")
    if call.params["fail"] == "typed":
        raise XrpcError("UnknownFeed", "no such feed")
    if call.params["fail"] == "auth":
        raise XrpcError("MissingJwt", "token please", status=401)
    if call.params["fail"] == "store":
        raise Unreachable("db at /secret/path")
    return {"names": call.params["name"], "limit": call.params["limit"], "body": call.body}


async def _batches(call: Call) -> AsyncIterator[Batch]:
    if call.params["cursor"] == 99:
        raise XrpcError("FutureCursor", "cursor is ahead")
    frames = [message_frame("#labels", {"seq": seq, "labels": []}) for seq in (1, 2)]
    yield Batch(b"".join(websocket_message(frame) for frame in frames), 0, 2)
    await asyncio.sleep(60)


async def _newest() -> int:
    return 2


PARAMS = (Param("name", array=True), Param("limit", "integer", default=50, minimum=1, maximum=250), Param("fail"))
METHODS = (
    Query("com.example.echo", _echo, PARAMS),
    Procedure("com.example.write", _echo, PARAMS),
    Subscription("com.example.stream", _batches, _newest, (Param("cursor", "integer", minimum=0),)),
)


@pytest.fixture
async def client() -> AsyncIterator[TestClient]:
    healthy = {"ok": True}

    async def check() -> None:
        if not healthy["ok"]:
            raise Unreachable("database")

    web = Web(
        methods=METHODS,
        pages={},
        healthy=check,
        version="1.2.3",
        limits=Limits(LimitSettings(requests=3, window_seconds=10**9, client_header="X-Client"), SystemClock()),
        metrics=Metrics(),
        log=set_up(level="error"),
    )
    async with TestClient(TestServer(web.app)) as client:
        client.healthy = healthy  # type: ignore[attr-defined]
        client.earmark = web  # type: ignore[attr-defined]
        yield client


async def test_p194_typed_parameters_and_p52_repeated_keys(client: TestClient) -> None:
    answer = await client.get("/xrpc/com.example.echo?name=a,b&name=c&unknown=1&limit=")
    assert await answer.json() == {"names": ["a,b", "c"], "limit": 50, "body": None}


@pytest.mark.parametrize("query", ["limit=0", "limit=251", "limit=x", "limit=1&limit=2", "limit=1e2", "limit=+5"])
async def test_p194_bad_parameters_are_400(client: TestClient, query: str) -> None:
    answer = await client.get(f"/xrpc/com.example.echo?{query}")
    assert answer.status == 400
    assert (await answer.json())["error"] == "InvalidRequest"


async def test_p192_errors_are_json_and_500_tells_nothing(client: TestClient) -> None:
    answer = await client.get("/xrpc/com.example.echo?fail=bug")
    assert answer.status == 500
    assert "hunter2" not in await answer.text()
    assert (await answer.json())["error"] == "InternalServerError"
    answer = await client.get("/xrpc/com.example.echo?fail=store")
    assert (answer.status, "secret" in await answer.text()) == (503, False)
    answer = await client.get("/xrpc/com.example.echo?fail=typed")
    assert await answer.json() == {"error": "UnknownFeed", "message": "no such feed"}


async def test_p200_401_carries_www_authenticate(client: TestClient) -> None:
    answer = await client.get("/xrpc/com.example.echo?fail=auth")
    assert answer.status == 401
    assert "WWW-Authenticate" in answer.headers


async def test_p193_unknown_method_bad_nsid_wrong_verb_trailing_slash(client: TestClient) -> None:
    assert (await client.get("/xrpc/com.example.nothing")).status == 501
    assert (await client.get("/xrpc/not_an_nsid")).status == 400
    assert (await client.post("/xrpc/com.example.echo")).status == 405
    assert (await client.get("/xrpc/com.example.write")).status == 405
    assert (await client.get("/xrpc/com.example.echo/")).status == 200
    answer = await client.get("/nowhere")
    assert (answer.status, (await answer.json())["error"]) == (404, "NotFound")


async def test_p196_bodies(client: TestClient) -> None:
    url = "/xrpc/com.example.write"
    assert (await (await client.post(url, json={"a": 1})).json())["body"] == {"a": 1}
    assert (await client.post(url, data=b"{}", headers={"Content-Type": "text/plain"})).status == 400
    assert (await client.post(url, data=b"{nope", headers={"Content-Type": "application/json"})).status == 400
    big = await client.post(url, data=b'"' + b"x" * MAX_BODY_BYTES + b'"', headers={"Content-Type": "application/json"})
    assert (big.status, (await big.json())["error"]) == (413, "PayloadTooLarge")
    assert (await client.get("/xrpc/com.example.echo", data=b"{}")).status == 400

    async def of_no_stated_length() -> AsyncIterator[bytes]:
        yield b"{}"

    assert (await client.get("/xrpc/com.example.echo", data=of_no_stated_length())).status == 400


async def test_p197_cors_on_answers_errors_and_preflight(client: TestClient) -> None:
    for path in ("/xrpc/com.example.echo", "/xrpc/com.example.nothing", "/xrpc/_health", "/nowhere"):
        assert (await client.get(path)).headers["Access-Control-Allow-Origin"] == "*"
    answer = await client.options("/xrpc/com.example.echo")
    assert answer.status == 204
    assert "authorization" in answer.headers["Access-Control-Allow-Headers"].lower()
    assert answer.headers["Access-Control-Max-Age"] == "86400"


async def test_a_body_that_does_not_come_is_not_waited_for(client: TestClient, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("earmark.web.ANSWER_SECONDS", 0.1)
    reader, writer = await asyncio.open_connection(client.host, client.port)
    head = b"POST /xrpc/com.example.write HTTP/1.1\r\nHost: x\r\nContent-Type: application/json\r\nContent-Length: 9"
    writer.write(head + b"\r\n\r\n{")
    async with asyncio.timeout(20):
        assert b" 503 " in await reader.readline()
    writer.close()


async def test_p198_health_and_head(client: TestClient) -> None:
    answer = await client.get("/xrpc/_health")
    assert (answer.status, await answer.json()) == (200, {"version": "1.2.3"})
    head = await client.head("/xrpc/com.example.echo")
    assert (head.status, await head.read()) == (200, b"")
    client.healthy["ok"] = False  # type: ignore[attr-defined]
    answer = await client.get("/xrpc/_health")
    assert answer.status == 503
    assert (await answer.json())["version"] == "1.2.3"


async def test_p63_binary_frames_and_p81_close_with_going_away(client: TestClient) -> None:
    async with client.ws_connect("/xrpc/com.example.stream") as socket:
        first = await socket.receive(5)
        assert first.type is aiohttp.WSMsgType.BINARY
        assert decode_multi(first.data) == [{"op": 1, "t": "#labels"}, {"seq": 1, "labels": []}]
        await socket.receive(5)
        closing = asyncio.create_task(client.earmark.subscriptions.close())  # type: ignore[attr-defined]
        last = await socket.receive(5)
        assert (last.type, last.data) == (aiohttp.WSMsgType.CLOSE, 1001)
        await closing


async def test_p71_error_frame_then_close_1008(client: TestClient) -> None:
    async with client.ws_connect("/xrpc/com.example.stream?cursor=99") as socket:
        frame = await socket.receive(5)
        header, body = decode_multi(frame.data)
        assert (header, body["error"]) == ({"op": -1}, "FutureCursor")
        last = await socket.receive(5)
        assert (last.type, last.data) == (aiohttp.WSMsgType.CLOSE, 1008)


@pytest.mark.parametrize("cursor", ["-1", "abc", "1.5"])
async def test_p73_bad_cursor_is_an_error_frame(client: TestClient, cursor: str) -> None:
    async with client.ws_connect(f"/xrpc/com.example.stream?cursor={cursor}") as socket:
        header, body = decode_multi((await socket.receive(5)).data)
        assert (header, body["error"]) == ({"op": -1}, "InvalidRequest")


async def test_p79_no_upgrade_is_426_and_post_is_405(client: TestClient) -> None:
    answer = await client.get("/xrpc/com.example.stream")
    assert (answer.status, (await answer.json())["error"]) == (426, "InvalidRequest")
    assert (await client.post("/xrpc/com.example.stream")).status == 405


async def test_p80_no_compression_is_offered(client: TestClient) -> None:
    async with client.ws_connect("/xrpc/com.example.stream", compress=15) as socket:
        assert not socket.compress


async def test_p199_answers_tell_the_allowance_and_the_one_too_many_is_429(client: TestClient) -> None:
    told = {"X-Client": "198.51.100.1"}
    for left in ("2", "1", "0"):
        answer = await client.get("/xrpc/com.example.echo", headers=told)
        assert (answer.status, answer.headers["RateLimit-Remaining"]) == (200, left)
    for path in ("/xrpc/com.example.echo", "/xrpc/com.example.nothing", "/nowhere"):
        answer = await client.get(path, headers=told)
        assert (answer.status, (await answer.json())["error"]) == (429, "RateLimitExceeded")
        assert int(answer.headers["Retry-After"]) > 0
        assert answer.headers["RateLimit-Policy"] == "3;w=1000000000"
        assert answer.headers["Access-Control-Allow-Origin"] == "*"
    assert (await client.options("/xrpc/com.example.echo", headers=told)).status == 204
    answer = await client.get("/xrpc/com.example.echo")  # from this very machine
    assert (answer.status, "RateLimit-Limit" in answer.headers) == (200, False)
