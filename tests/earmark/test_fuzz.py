"""Strangers ask the running service anything: never a 500, never without a bound, always the error shape (P192).

What is asked comes from the service itself: every method and page that it has mounted, with values that are nearly
right, and with values that are nothing.
"""

from __future__ import annotations

import asyncio
import contextlib
import http.client
import socket
import threading
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any, ClassVar
from urllib.parse import urlsplit

import orjson
import pytest
import websockets.exceptions
import websockets.sync.client
from hypothesis import given, settings
from hypothesis import strategies as st
from pydantic import SecretStr

from core.clock import SystemClock
from core.config import Settings
from core.dagcbor import decode_multi
from core.feed import FeedEntry
from core.keys import SigningKey
from core.sections import Certificates, Reports
from core.serviceauth import mint
from core.xrpc import Method, Param, Procedure, Query, Subscription
from earmark.demo import music
from earmark.lexicon import load_lexicons
from earmark.web import MAX_BODY_BYTES, Web
from feedgen.context import Contexts
from tests.earmark.test_service import opened, wav
from tests.lexicons import check_value, find

MAX_ANSWER_BYTES = 2_000_000
OURS_TO_REFUSE = range(400, 500)
EXAMPLES = settings(max_examples=150, deadline=None)


class Recorded(Web):
    """The web server of the service, to be asked what it has mounted."""

    made: ClassVar[list[Recorded]] = []

    def __init__(self, **parts: Any) -> None:
        super().__init__(**parts)
        self.made.append(self)


@dataclass(repr=False)
class Target:
    """A service that runs in a thread of its own, and what there is to know about it."""

    settings: Settings
    methods: list[Method]
    pages: list[str]
    did: str
    key: SigningKey
    words: dict[str, list[str]]  # by parameter, what means something to it

    def token(self, lxm: str) -> str:
        """Of the artist, who may ask everything."""
        did = self.settings.labeler.did
        return mint(self.key, iss=self.did, aud=did, lxm=lxm, now_us=SystemClock().now_us())

    def ask(
        self, verb: str, path: bytes, *, headers: dict[str, str] | None = None, body: bytes | None = None
    ) -> tuple[int, dict[str, str], bytes]:
        """One request on a connection of its own; the path goes out as these very bytes."""
        split = urlsplit(self.settings.public_url)
        connection = http.client.HTTPConnection(split.hostname or "", split.port, timeout=30)
        try:
            connection.request(verb, path.decode("ascii"), body=body, headers=headers or {})
            answer = connection.getresponse()
            return answer.status, {k.lower(): v for k, v in answer.getheaders()}, answer.read(MAX_ANSWER_BYTES + 1)
        finally:
            connection.close()

    def judge(self, verb: str, path: bytes, **parts: Any) -> tuple[int, Any]:
        """What every answer has to be, whatever was asked: its status, and its body if that is JSON."""
        status, headers, body = self.ask(verb, path, **parts)
        said = (verb, path[:300], status, body[:300])
        assert status < 500 or status == 501, said
        assert len(body) <= MAX_ANSWER_BYTES, said[:3]
        assert headers["access-control-allow-origin"] == "*", said
        if verb == "HEAD" or not body:
            assert verb in ("HEAD", "OPTIONS"), said
            return status, None
        told = orjson.loads(body) if headers["content-type"].startswith("application/json") else None
        if status >= 400:
            assert isinstance(told, dict), said
            assert {"error", "message"} == set(told), said
            assert all(isinstance(text, str) and 0 < len(text) < 1_000 for text in told.values()), said
            assert not told["error"].startswith("Internal"), said
        return status, told


@pytest.fixture(scope="module")
def target(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Target]:
    """The whole service against the test network, with one track heard and labelled, and one post that links it."""
    patch, ready, done = pytest.MonkeyPatch(), threading.Event(), asyncio.Event()
    patch.setattr("earmark.compose.Web", Recorded)
    made: dict[str, Any] = {}

    async def serve() -> None:
        made["loop"] = asyncio.get_running_loop()
        keys, reports = Certificates(key=SecretStr("11" * 32)), Reports(per_hour=1_000_000)
        async with opened(tmp_path_factory.mktemp("fuzz"), certificates=keys, reports=reports) as live:
            piece = next(piece for piece in music.PIECES if piece.mood == "dance-floor")
            uri = live.track(wav(music.compose(piece)[: 12 * 44_100]))
            post = live.post(uri)
            await live.ended(uri)
            web, chosen = Recorded.made[-1], live.service.settings
            pages = {resource.canonical for resource in web.app.router.resources()}
            blobs, did, subjects = list(live.artist.blobs), str(uri.did), [str(uri), str(post)]
            feeds = f"at://{chosen.publisher_did}/app.bsky.feed.generator/"
            contexts = Contexts((chosen.data / "cursor.key").read_bytes())
            words = {
                "uris": subjects,
                "uri": subjects,
                "uriPatterns": [*subjects, f"at://{did}/*", "at://did:*", "*"],
                "sources": [chosen.labeler.did, did],
                "cid": [*map(str, blobs), "bafkreifzjut3te7nhyekklss27nh3k72ysco7y32koao5eei66wof36n5e"],
                "actor": [did, chosen.labeler.did],
                "feed": [feeds + "calm", feeds + "dance-floor"],
                "rkey": ["calm", "dance-floor"],
                "form": ["json", "rss", "m3u"],
                "list": [f"at://{did}/fm.plyr.list/mine"],
                "q": ["fast techno", "a title", "no drums"],
                "feedContext": [contexts.write("dance-floor", FeedEntry(str(uri), str(post), 0.5))],
                "peaks": ["1"],
                "cursor": ["1", "WzAsIiIsMCw0XQ=="],
            }
            target = Target(chosen, list(web._methods.values()), sorted(pages), did, live.artist.key, words)
            made["target"] = target
            ready.set()
            await done.wait()

    def run() -> None:
        try:
            asyncio.run(serve())
        except BaseException as error:
            made["error"] = error
            raise
        finally:
            ready.set()

    thread = threading.Thread(target=run)
    thread.start()
    assert ready.wait(120)
    assert "error" not in made, made
    yield made["target"]
    made["loop"].call_soon_threadsafe(done.set)
    thread.join(60)
    patch.undo()
    assert not thread.is_alive()
    assert "error" not in made, made


# --- what is asked ------------------------------------------------------------------------------------------

odd_bytes = st.binary(max_size=60) | st.sampled_from(
    [
        b"",
        b"\x00",
        b"\xff\xfe",
        b"\xed\xa0\x80",
        b"'; DROP TABLE label; --",
        b"%",
        b"_",
        b"../../etc/passwd",
        b"[]",
        b"-0",
    ]
)
odd_texts = st.text(max_size=60) | st.sampled_from(
    [
        "at://",
        "at://did:plc:x/a.b.c/d",
        "did:plc:",
        "did:web:localhost",
        "did:web:127.0.0.1",
        "did:key:z6Mk",
        "bafy",
        "*",
        "**",
        "a*b",
    ]
)
odd_numbers = st.integers(-(2**70), 2**70) | st.sampled_from([-1, 0, 1, 250, 251, 2**53, 2**63 - 1, 2**63, 2**64])


def quote(raw: bytes) -> bytes:
    """Percent-encoded, however odd the bytes."""
    return b"".join(b"%%%02X" % byte for byte in raw)


def meant(target: Target, param: Param) -> st.SearchStrategy[bytes]:
    """What an honest client sends as this parameter."""
    if param.kind == "integer":
        low, high = param.minimum or 0, param.maximum
        return st.integers(low, 20 if high is None else high).map(lambda number: str(number).encode())
    words = target.words.get(param.name) or [word for some in target.words.values() for word in some]
    return st.sampled_from([word.encode() for word in words])


def odd(target: Target, param: Param) -> st.SearchStrategy[bytes]:
    """What nearly means something, and what means nothing."""
    cut = meant(target, param).flatmap(lambda word: st.integers(0, len(word)).map(lambda end: word[:end]))
    words = st.sampled_from([word.encode() for some in target.words.values() for word in some])
    numbers = odd_numbers.map(lambda number: str(number).encode())
    return cut | words | numbers | odd_bytes | odd_texts.map(lambda text: text.encode("utf-8", "surrogatepass"))


@st.composite
def query_of(draw: st.DrawFn, target: Target, params: tuple[Param, ...]) -> bytes:
    """A query string as an honest client writes it, but for one parameter that is odd, missing or given often; and
    sometimes a name that nobody declared.
    """
    twisted = draw(st.sampled_from([None, None, *params]))
    pairs: list[bytes] = []
    for param in params:
        given = draw(st.sampled_from([0, 1, 2, 5] if param is twisted else [1] if param.required else [0, 1]))
        value = odd(target, param) if param is twisted else meant(target, param)
        pairs += [param.name.encode() + b"=" + quote(draw(value)) for _ in range(given)]
    if draw(st.integers(0, 4)) == 0:
        pairs.append(quote(draw(odd_bytes)) + draw(st.sampled_from([b"=", b"", b"==", b"=%zz", b"=%"])))
    return b"?" + b"&".join(draw(st.permutations(pairs))) if pairs else b""


def headers_of(target: Target, nsid: str) -> st.SearchStrategy[dict[str, str]]:
    """None, good tokens, bad tokens, and other things that clients send."""
    plain = st.text(st.characters(min_codepoint=32, max_codepoint=126), max_size=200)
    token = st.builds(target.token, st.sampled_from([nsid, nsid, "com.example.other"]))
    parts = st.text("abcdefgABCDEFG0123456789-_=.", max_size=300)
    authorization = (token | token.map(lambda one: one[:-4] + "AAAA") | parts).map("Bearer {}".format) | plain
    optional = {"Authorization": authorization, "Accept": plain, "atproto-accept-labelers": plain, "Range": plain}
    return st.fixed_dictionaries({}, optional=optional)


json_values = st.recursive(
    st.none() | st.booleans() | st.integers(-(2**63), 2**63 - 1) | st.floats(allow_nan=False) | st.text(max_size=40),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=10), inner, max_size=4),
    max_leaves=20,
)


@st.composite
def reports(draw: st.DrawFn, target: Target) -> dict[str, Any]:
    """Bodies as an honest client sends them to createReport, but for one member that is odd or missing."""
    reasons = [f"com.atproto.moderation.defs#reason{name}" for name in ("Other", "Appeal", "Spam")]
    body: dict[str, Any] = {
        "reasonType": draw(st.sampled_from([*reasons, "tools.ozone.report.defs#reasonAppeal"])),
        "subject": {
            "$type": draw(st.sampled_from(["com.atproto.repo.strongRef", "com.atproto.admin.defs#repoRef"])),
            "uri": draw(st.sampled_from(target.words["uri"])),
            "cid": draw(st.sampled_from(target.words["cid"])),
            "did": target.did,
        },
        "reason": draw(st.sampled_from(["wrong, this is ambient", "opt out of feeds", "opt in", ""]) | odd_texts),
        "modTool": {"name": draw(odd_texts)},
    }
    within = draw(st.sampled_from([body, body["subject"]]))
    name = draw(st.sampled_from([None, None, *sorted(within)]))
    if name is not None:
        del within[name]
        long = st.sampled_from(["x" * 20_001, "\U0001f3b5" * 2_001, "at://" + "a" * 9_000])
        within |= draw(st.just({}) | st.fixed_dictionaries({name: json_values | odd_texts | long}))
    return body


# --- the tests ----------------------------------------------------------------------------------------------


def test_everything_that_is_mounted_is_asked_for(target: Target) -> None:
    names = {method.nsid for method in target.methods}
    authority = target.settings.authority
    own = {name for name, document in load_lexicons(authority).items() if "main" in document["defs"]}
    assert {name for name in own if name.startswith(authority)} <= names
    assert {"com.atproto.label.queryLabels", "com.atproto.label.subscribeLabels"} <= names
    assert "com.atproto.moderation.createReport" in names
    assert {type(method) for method in target.methods} <= {Query, Procedure, Subscription}
    assert {"/", "/api/track", "/api/status", "/api/feeds/{rkey}", "/api/lexicons", "/metrics"} <= set(target.pages)
    assert {"/feeds/{rkey}.{form}", "/feeds/{rkey}", "/feeds/{rkey}/why"} <= set(target.pages)


@given(data=st.data())
@EXAMPLES
def test_queries(target: Target, data: st.DataObject) -> None:
    method = data.draw(st.sampled_from([method for method in target.methods if isinstance(method, Query)]))
    path = f"/xrpc/{method.nsid}".encode() + data.draw(query_of(target, method.params))
    verb = data.draw(st.sampled_from([*["GET"] * 9, "HEAD", "OPTIONS", "POST", "DELETE"]))
    status, told = target.judge(verb, path, headers=data.draw(headers_of(target, method.nsid)))
    if status == 200 and told is not None and method.nsid.startswith(target.settings.authority):
        documents = load_lexicons(target.settings.authority)
        schema, home = find(method.nsid, "", documents)
        check_value(told, schema["output"]["schema"], home, documents)
    if verb == "GET":
        assert status in (200, 400, 401), (path, told)


@given(data=st.data())
@EXAMPLES
def test_procedures(target: Target, data: st.DataObject) -> None:
    method = data.draw(st.sampled_from([method for method in target.methods if isinstance(method, Procedure)]))
    body = data.draw(
        reports(target).map(orjson.dumps)
        | reports(target).map(orjson.dumps)
        | json_values.map(orjson.dumps)
        | odd_bytes
        | st.sampled_from([b"[" * 50_000, b'{"a":' * 20_000, b'"\\ud800"', b"1e999", b" " * (MAX_BODY_BYTES + 1)])
    )
    kind = data.draw(
        st.sampled_from([*["application/json"] * 4, "application/json; charset=utf-8", "text/plain", "", "x"])
    )
    headers = data.draw(headers_of(target, method.nsid)) | {"Content-Type": kind}
    if data.draw(st.integers(0, 5)) == 0:
        headers["Content-Encoding"] = data.draw(st.sampled_from(["gzip", "deflate", "br", "zstd", "identity", "x"]))
    if data.draw(st.integers(0, 3)):
        headers["Authorization"] = f"Bearer {target.token(method.nsid)}"
    path = f"/xrpc/{method.nsid}".encode() + data.draw(st.just(b"") | query_of(target, method.params))
    target.judge("POST", path, headers=headers, body=body)


@given(data=st.data())
@EXAMPLES
def test_pages(target: Target, data: st.DataObject) -> None:
    page = data.draw(st.sampled_from(target.pages)).encode()
    while b"{" in page:
        before, _, rest = page.partition(b"{")
        filled = quote(data.draw(odd_bytes | st.sampled_from([b"calm", b"dance-floor", b"json", b"rss", b"m3u"])))
        page = before + filled + rest.partition(b"}")[2]
    params = tuple(Param(name) for name in ("uri", "peaks", "cursor", "limit", "before", "after"))
    path = page + data.draw(query_of(target, params))
    target.judge(data.draw(st.sampled_from(["GET", "GET", "GET", "HEAD", "OPTIONS", "POST", "PUT"])), path)


@given(
    st.sampled_from([b"/", b"/xrpc/", b"/api/", b"/.well-known/", b"//", b"/xrpc/com.atproto.label.", b"/api/feeds/"]),
    odd_bytes | st.binary(min_size=1_000, max_size=5_000),
    st.sampled_from(["GET", "GET", "HEAD", "OPTIONS", "POST", "PATCH"]),
)
@EXAMPLES
def test_paths(target: Target, start: bytes, rest: bytes, verb: str) -> None:
    target.judge(verb, start + quote(rest))


@given(data=st.data())
@settings(max_examples=60, deadline=None)
def test_p73_subscriptions(target: Target, data: st.DataObject) -> None:
    """Whatever the cursor: frames of two items, and after an error the end."""
    method = data.draw(st.sampled_from([method for method in target.methods if isinstance(method, Subscription)]))
    path = f"/xrpc/{method.nsid}".encode() + data.draw(query_of(target, method.params))
    url = "ws" + target.settings.public_url.removeprefix("http") + path.decode("ascii")
    with websockets.sync.client.connect(url, proxy=None, open_timeout=30) as stream:
        with contextlib.suppress(websockets.exceptions.ConnectionClosed):  # it may have refused by now
            stream.send(data.draw(st.text(max_size=100)))
        for _ in range(3):
            try:
                frame = stream.recv(timeout=0.05)
            except TimeoutError:
                break  # nothing new to tell
            except websockets.exceptions.ConnectionClosed:
                assert stream.close_code == 1008
                break
            assert isinstance(frame, bytes)
            head, body = decode_multi(frame)
            assert head in ({"op": 1, "t": "#labels"}, {"op": -1}), head
            if head["op"] == -1:
                assert body["error"] in ("InvalidRequest", "FutureCursor")


@pytest.mark.parametrize("encoding", ["gzip", "deflate", "br", "zstd", "x"])
def test_p196_a_compressed_body_is_refused(target: Target, encoding: str) -> None:
    path = b"/xrpc/com.atproto.moderation.createReport"
    headers = {"Content-Type": "application/json", "Content-Encoding": encoding}
    status, told = target.judge("POST", path, headers=headers, body=b"{}")
    assert (status, told["error"]) == (400, "InvalidRequest")


@pytest.mark.parametrize(
    "raw",
    [
        b"GET / HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer secret\x00\r\n\r\n",
        b"GET / HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer secret" + b"a" * 9_000 + b"\r\n\r\n",
        b"GET /?token=secret\xff HTTP/1.1\r\nHost: x\r\n\r\n",
        b"secret / HTTP/1.1\r\n\x00",
    ],
)
def test_p127_what_is_no_http_is_refused_and_not_logged(
    target: Target, raw: bytes, caplog: pytest.LogCaptureFixture
) -> None:
    split = urlsplit(target.settings.public_url)
    with socket.create_connection((split.hostname, split.port), timeout=30) as connection:
        connection.sendall(raw)
        connection.shutdown(socket.SHUT_WR)
        answer = connection.makefile("rb").read(100_000)
    assert b" 400 " in answer.partition(b"\r\n")[0] or not answer
    assert [record for record in caplog.records if record.name.startswith("aiohttp")] == []


@pytest.mark.parametrize("path", [b"/xrpc/com.atproto.label.queryLabels", b"/api/track", b"/xrpc/x", b"/nowhere"])
def test_a_body_without_end_is_not_read(target: Target, path: bytes) -> None:
    status, _ = target.judge("POST", path, headers={"Content-Type": "application/json"}, body=b"[" * 1_000_000)
    assert status in OURS_TO_REFUSE or status == 501
