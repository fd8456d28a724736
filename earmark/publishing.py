"""Feed records in the publisher's repository: what makes a feed known to Bluesky (P100, P101).

A record is ours when it names our service; nobody else's is ever changed or removed.
"""

from __future__ import annotations

import asyncio
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import orjson

from core.clock import Clock
from core.config import Settings
from core.errors import AppError, Misconfigured, Unreachable
from core.feed import Feed
from core.log import Log
from core.ports import Directory, SafeHttp
from core.types import Did, parse_did
from earmark.pictures import MAX_BYTES, MAX_PIXELS, Picture, look_at_picture
from earmark.session import Session, open_session
from feedgen.live import LiveFeeds
from feedgen.publish import GENERATOR_COLLECTION, build_generator_record, feed_uri
from firehose.answers import check_answer
from firehose.guard import Guard
from store import Store, published_feeds

MAX_PAGES = 10  # of a hundred records
MAX_PAGE_BYTES = 2_000_000
LOOK_EVERY_SECONDS = 300.0
_ABOUT_US = ("did", "displayName", "description", "acceptsInteractions", "avatar")  # what we say; the rest stays


@dataclass(frozen=True, slots=True)
class Published:
    """A feed record as it is in the repository."""

    record: Mapping[str, Any]
    cid: str


@dataclass(frozen=True, slots=True)
class Change:
    """What is to happen to one feed record. `record` None: it goes. `cid` of the present one, None: there is none."""

    rkey: str
    differences: tuple[str, ...]
    record: Mapping[str, Any] | None
    cid: str | None = None

    @property
    def action(self) -> str:
        if self.record is None:
            return "remove"
        return "create" if self.cid is None else "change"


@dataclass(frozen=True, slots=True)
class Plan:
    """`strangers`: rkeys that hold a record of another service, which is left alone."""

    changes: tuple[Change, ...] = ()
    strangers: tuple[str, ...] = ()


class Publisher:
    """Of the account `feeds.publisher_did`. Raises Misconfigured if that has no repository."""

    def __init__(
        self, settings: Settings, *, http: SafeHttp, directory: Directory, guard: Guard, user_agent: str, clock: Clock
    ) -> None:
        self.did: Did = parse_did(settings.publisher_did)
        self._service_did = settings.service_did
        self._http = http
        self._directory = directory
        self._guard = guard
        self._user_agent = user_agent
        self._clock = clock

    async def find_pds(self) -> str:
        """Raises Misconfigured, UnknownDid, Unreachable."""
        identity = await self._directory.resolve(self.did)
        if identity.pds is None:
            raise Misconfigured("feeds.publisher_did", f"{self.did} has no repository; name an account that has one")
        return identity.pds

    async def published(self, pds: str) -> dict[str, Published]:
        """By rkey, every feed record there is, whosever it is. Raises Unreachable, RateLimited, AccountAway."""
        found: dict[str, Published] = {}
        params = {"repo": str(self.did), "collection": GENERATOR_COLLECTION, "limit": "100"}
        for _ in range(MAX_PAGES):
            answer = await self._http.get(
                f"{pds}/xrpc/com.atproto.repo.listRecords", params=params, max_bytes=MAX_PAGE_BYTES
            )
            page = _read_page(check_answer(answer))
            for row in page["records"]:
                rkey, record, cid = str(row.get("uri")).rpartition("/")[2], row.get("value"), row.get("cid")
                if isinstance(record, dict) and isinstance(cid, str):
                    found[rkey] = Published(record, cid)
            cursor = page.get("cursor")
            if not isinstance(cursor, str) or not cursor:
                return found
            params["cursor"] = cursor
        raise Unreachable(f"{self.did} has more than {100 * MAX_PAGES} feed records")

    def plan(self, feeds: Iterable[Feed], known: Mapping[str, Published], *, with_avatar: bool = False) -> Plan:
        """What it takes to have these feeds published. `with_avatar`: every record changes."""
        changes, strangers = [], []
        for feed in feeds:
            present = known.get(feed.rkey)
            if present is not None and not self._is_ours(present):
                strangers.append(feed.rkey)
                continue
            record = build_generator_record(feed, service_did=self._service_did, created_us=self._clock.now_us())
            if present is not None:
                record = _merge(present.record, record)
            differences = _compare(present.record if present else {}, record)
            if with_avatar:
                differences = (*differences, "avatar: another picture")
            if differences:
                changes.append(Change(feed.rkey, differences, record, present.cid if present else None))
        return Plan((*changes,), (*strangers,))

    def ours(self, known: Mapping[str, Published]) -> list[str]:
        """The rkeys of all records that name this service, whether or not its catalogue has them."""
        return [rkey for rkey, one in known.items() if self._is_ours(one)]

    def plan_removal(self, rkeys: Iterable[str], known: Mapping[str, Published]) -> Plan:
        """What it takes to have these feeds unpublished; those that are not published need nothing."""
        there = [(rkey, known[rkey]) for rkey in rkeys if rkey in known]
        return Plan(
            tuple(
                Change(rkey, (f"displayName: {one.record.get('displayName')!r}",), None, one.cid)
                for rkey, one in there
                if self._is_ours(one)
            ),
            tuple(rkey for rkey, one in there if not self._is_ours(one)),
        )

    async def apply(self, session: Session, changes: Sequence[Change], *, avatar: Picture | None) -> None:
        """One record after the other, each only if it still is what was looked at. Raises Refused, Unreachable, ..."""
        blob = await session.upload(avatar.content, avatar.mime) if avatar is not None and changes else None
        for change in changes:
            body: dict[str, Any] = {"repo": self.did, "collection": GENERATOR_COLLECTION, "rkey": change.rkey}
            if change.record is None:
                await session.call("com.atproto.repo.deleteRecord", body | {"swapRecord": change.cid})
                continue
            record = change.record if blob is None else {**change.record, "avatar": blob}
            body |= {"record": record, "swapRecord": change.cid, "validate": True}
            await session.call("com.atproto.repo.putRecord", body)

    async def keep_open(self, feeds: LiveFeeds, store: Store, password: Path, log: Log) -> None:
        """Publish each feed once, when it opens, until cancelled. Nothing is changed or taken back here: a feed that
        turns dark again is served empty, and those who pinned it keep it. One whose record was there and is gone was
        taken away, by whatever means, and stays away until somebody publishes it.
        """
        seen: frozenset[str] = frozenset()
        while True:
            try:
                opened = frozenset(await feeds.open_feeds())
                if not opened <= seen:
                    wanted = [feed for feed in feeds.feeds if feed.rkey in opened]
                    await self._publish_missing(wanted, store, password, log)
                    seen |= opened
            except AppError as error:  # the network, or what it said: the next round tries again
                log.warning("feeds that opened could not be published", reason=type(error).__name__, error=error)
            await asyncio.sleep(LOOK_EVERY_SECONDS)

    async def _publish_missing(self, feeds: Sequence[Feed], store: Store, password: Path, log: Log) -> None:
        pds = await self.find_pds()
        present = await self.published(pds)
        async with store.read() as reader:
            known = await published_feeds.known(reader)
        missing = [change for change in self.plan(feeds, present).changes if change.action == "create"]
        left = [change.rkey for change in missing if feed_uri(self.did, change.rkey) in known]
        missing = [change for change in missing if change.rkey not in left]
        if missing:
            async with open_session(pds, guard=self._guard, user_agent=self._user_agent) as session:
                await session.sign_in(self.did, read_secret(password, "feeds.password_file"))
                await self.apply(session, missing, avatar=None)
            log.info("feeds published", feeds=",".join(change.rkey for change in missing))
        if left:
            log.info("feeds whose records were taken away stay unpublished", feeds=",".join(left))
        there = (*self.ours(present), *(change.rkey for change in missing))
        async with store.write() as tx:
            await published_feeds.note(tx, (feed_uri(self.did, rkey) for rkey in there))

    def _is_ours(self, one: Published) -> bool:
        return one.record.get("did") == self._service_did


def read_avatar(path: Path) -> Picture:
    """A PNG or JPEG. Raises Misconfigured."""
    try:
        with path.open("rb") as file:
            content = file.read(MAX_BYTES + 1)
    except OSError as error:
        raise Misconfigured("--avatar", f"cannot be read ({error.strerror})") from None
    picture = look_at_picture(content)
    if picture is None or picture.mime not in ("image/png", "image/jpeg"):
        raise Misconfigured("--avatar", f"must be a PNG or JPEG of at most {MAX_BYTES} bytes, {MAX_PIXELS} pixels")
    return picture


def read_secret(path: Path, key: str) -> str:
    """A password from its file. Raises Misconfigured, which never quotes it."""
    try:
        return path.read_text("utf-8").strip()
    except (OSError, UnicodeDecodeError) as error:
        raise Misconfigured(key, f"cannot be read ({type(error).__name__})") from None


def _merge(present: Mapping[str, Any], wanted: Mapping[str, Any]) -> dict[str, Any]:
    """What somebody added to a record of ours by other means stays, and so do its age and its picture."""
    kept = {key: value for key, value in present.items() if key not in _ABOUT_US or key == "avatar"}
    if present.get("description") != wanted["description"]:
        kept.pop("descriptionFacets", None)  # they point into the text that goes
    return {**wanted, **kept}


def _compare(present: Mapping[str, Any], wanted: Mapping[str, Any]) -> tuple[str, ...]:
    """A line for each field that differs."""
    keys = [key for key in dict.fromkeys((*wanted, *present)) if present.get(key) != wanted.get(key)]
    return tuple(f"{key}: {_show(present.get(key))} -> {_show(wanted.get(key))}" for key in keys)


def _show(value: object) -> str:
    return "nothing" if value is None else orjson.dumps(value).decode()[:200]


def _read_page(body: bytes) -> dict[str, Any]:
    try:
        page = orjson.loads(body)
    except orjson.JSONDecodeError:
        page = None
    if not isinstance(page, dict) or not isinstance(page.get("records"), list):
        raise Unreachable("the host's answer is no list of records")
    page["records"] = [row for row in page["records"][:100] if isinstance(row, dict)]
    return page
