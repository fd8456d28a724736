"""Pages that say which record they show (R7): read with care, asked politely, never followed off the list."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import suppress
from typing import Any

import pytest
from aiohttp import web
from hypothesis import given
from hypothesis import strategies as st

from core.errors import StoreBusy, Unreachable
from firehose.guard import Guard
from firehose.links import LinkRules
from firehose.pages import MAX_ATTEMPTS, MAX_PAGE_BYTES, PageReader, read_canonical
from firehose.safehttp import GuardedHttp
from store import Store, pages

TRACK = "at://did:plc:artist222222222222222222/fm.plyr.track/3kbbbbbbbbbb2"
ALBUM = TRACK.replace("fm.plyr.track", "fm.plyr.list")
META = f'<meta name="at:canonical" content="{TRACK}">'


def page(head: str = META, body: str = "") -> str:
    return f"<!doctype html><html><head><title>x</title>{head}</head><body>{body}</body></html>"


@pytest.mark.parametrize(
    ("html", "named"),
    [
        (page(), TRACK),
        (page(f"<META CONTENT='{TRACK}' NAME='at:canonical' />"), TRACK),
        (page(f'<meta property="at:canonical" content=" {TRACK} ">'), TRACK),
        (page(META + META), TRACK),
        (page(META + f'<meta name="at:canonical" content="{ALBUM}">'), None),  # which?
        (page("", META), None),  # a comment of a visitor
        (page("<!--" + META + "-->"), None),
        (page("<script>" + META + "</script>"), None),
        (page('<meta name="at:canonical">'), None),
        (page("<meta>" * 600 + META), None),
        ("<![nonsense]>" + page(), None),
        ("<![", None),
        ("", None),
        ("<meta name=at:canonical content=" + TRACK, None),
    ],
)
def test_what_a_page_names(html: str, named: str | None) -> None:
    assert read_canonical(html.encode()) == named


@given(
    st.binary(max_size=200)
    | st.lists(st.sampled_from(["<meta ", META, ">", "<!", "[", "</head>", "&#x;", "\x00"])).map("".join)
)
def test_any_bytes_are_a_page(body: bytes | str) -> None:
    assert read_canonical(body if isinstance(body, bytes) else body.encode()) in (None, TRACK)


@pytest.fixture
async def asking(store: Store, clock: Any, log: Any, serve: Any) -> AsyncIterator[Callable[..., Any]]:
    """A reader of one host's pages, and the host's address."""
    http = GuardedHttp(Guard(allow_loopback=True), clock=clock, user_agent="test")

    async def build(handler: Callable[[web.Request], Any]) -> tuple[PageReader, str]:
        async def answer(request: web.Request) -> web.StreamResponse:
            found = handler(request)
            return (
                found if isinstance(found, web.StreamResponse) else web.Response(text=found, content_type="text/html")
            )

        base = await serve(answer)
        rules = LinkRules(frozenset({"fm.plyr.track"}), frozenset(), frozenset({base.removeprefix("http://")}))
        return PageReader(store, http, rules, clock=clock, log=log, pause=0.0), base

    yield build
    await http.close()


async def test_a_page_is_asked_what_it_shows(asking: Any) -> None:
    answers = {
        "/song": page(),
        "/album": page(f'<meta name="at:canonical" content="{ALBUM}">'),
        "/web": page('<meta name="at:canonical" content="https://example.com/">'),
        "/gone": web.Response(status=404, text=page(), content_type="text/html"),
    }
    reader, base = await asking(lambda request: answers[request.path])
    assert [await reader.shown_record(base + path) for path in answers] == [TRACK, None, None, None]


async def test_redirects_stay_on_the_list_and_end(asking: Any) -> None:
    def handler(request: web.Request) -> Any:
        number = int(request.query.get("n", "0"))
        if request.path == "/off":
            return web.Response(status=302, headers={"Location": "http://127.0.0.1:1/song"})
        if request.path == "/odd":
            return web.Response(status=302, headers={"Location": "//["})
        if request.path == "/nowhere":
            return web.Response(status=302)
        if number == 0:
            return page()
        return web.Response(status=302, headers={"Location": f"?n={number - 1}"})

    reader, base = await asking(handler)
    assert await reader.shown_record(f"{base}/song?n=3") == TRACK
    assert [await reader.shown_record(base + path) for path in ("/song?n=9", "/off", "/odd", "/nowhere")] == [None] * 4


@pytest.mark.parametrize(
    "answer",
    [
        lambda _: web.Response(status=500, text=page()),
        lambda _: page(META + " " * MAX_PAGE_BYTES),
    ],
)
async def test_trouble_is_trouble(asking: Any, answer: Any) -> None:
    reader, base = await asking(answer)
    with pytest.raises(Unreachable):
        await reader.shown_record(f"{base}/song")


async def test_a_page_that_never_answers_is_given_up(asking: Any, store: Store, clock: Any) -> None:
    reader, base = await asking(lambda _: web.Response(status=500))
    url, now_us = f"{base}/song", clock.now_us()
    async with store.write() as tx:
        await pages.ask(tx, url, now_us=now_us)
    for attempt in range(1, MAX_ATTEMPTS + 1):
        assert await reader.settle_due() == 1
        async with store.write() as tx:
            waiting = await pages.due(tx, now_us=2**62, limit=5)
            assert waiting == ([(url, attempt)] if attempt < MAX_ATTEMPTS else [])
            assert await pages.due(tx, now_us=now_us + 20_000_000, limit=5) == []  # half a minute at least
            if waiting:
                await pages.put_off(tx, url, attempts=attempt, due_us=now_us)
    async with store.write() as tx:
        assert not await pages.ask(tx, url, now_us=now_us)


async def test_a_busy_store_does_not_end_the_role(
    asking: Any, store: Store, clock: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    reader, base = await asking(lambda _: page())
    settle, looks = reader.settle_due, 0

    async def settle_due() -> int:
        nonlocal looks
        looks += 1
        if looks == 1:
            raise StoreBusy("locked by another program")
        return await settle()

    monkeypatch.setattr(reader, "settle_due", settle_due)
    task = asyncio.create_task(reader.run())
    async with asyncio.timeout(10):
        while not looks:
            await asyncio.sleep(0.01)
        async with store.write() as tx:
            await pages.ask(tx, f"{base}/song", now_us=clock.now_us())
        while True:
            async with store.read() as r:
                if not await pages.due(r, now_us=2**62, limit=5):
                    break
            await asyncio.sleep(0.01)
    task.cancel()
    with suppress(asyncio.CancelledError):
        await task


async def test_the_role_settles_pages_as_they_come(asking: Any, store: Store, clock: Any) -> None:
    reader, base = await asking(lambda request: page() if request.path == "/song" else page(""))
    task = asyncio.create_task(reader.run())
    try:
        for path in ("/song", "/other"):
            async with store.write() as tx:
                await pages.ask(tx, base + path, now_us=clock.now_us())
            async with asyncio.timeout(10):
                while True:
                    async with store.read() as r:
                        if not await pages.due(r, now_us=2**62, limit=5):
                            break
                    await asyncio.sleep(0.01)
    finally:
        task.cancel()
        with suppress(asyncio.CancelledError):
            await task
    async with store.write() as tx:
        assert await pages.ask(tx, f"{base}/song", now_us=1)
        assert not await pages.ask(tx, f"{base}/other", now_us=1)
