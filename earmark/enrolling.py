"""Enrolment as the operator does it: the DID document through the PDS, then the declaration in the repository.

Every step looks first at what is there, so that the same command goes on where it was stopped and changes nothing when
all is done. The order is P49's: DID document, reachable stream, record.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable, Mapping
from contextlib import aclosing, asynccontextmanager
from dataclasses import dataclass
from typing import Any
from urllib.parse import urlsplit

import orjson

from core.clock import Clock, SystemClock
from core.config import Settings
from core.errors import Misconfigured, Permanent, Transient, Unreachable
from core.keys import PublicKey
from core.ports import Identity
from core.taxonomy import Taxonomy
from core.types import Did, is_plc, parse_did
from earmark.asking import Asking, signed_in
from earmark.keyring import load_keys
from earmark.outside import Outside, reaching_out
from earmark.session import Refused, Session
from earmark.verifying import Verifying
from firehose.mapping import load_mapping
from labeler.declare import compare_declarations, merge_declaration
from labeler.lint import lint_declaration
from labeler.plc import NotAsAsked, Plan, PlcEntry, Wanted, plan_change
from labeler.vocabulary import NSID, RKEY, build_declaration

SETTLE_SECONDS = 30  # for the directory to show what it took
QUIET_SECONDS = 2.0  # a stream that has labels sends the first at once
Tell = Callable[[str], None]


@dataclass(frozen=True, slots=True)
class Declaration:
    """The record in the repository and the one to put there."""

    record: dict[str, Any]
    cid: str | None  # of the present one, so that nobody else's change is overwritten
    changes: tuple[str, ...]


class Enroller:
    """What is there and what is to be, of the account that `labeler.did` names."""

    def __init__(self, settings: Settings, outside: Outside, *, clock: Clock) -> None:
        """Raises Misconfigured."""
        try:
            self.did = parse_did(settings.labeler.did)
        except ValueError:
            raise Misconfigured("labeler.did", "set it to the DID of the account that is to sign labels") from None
        self.settings, self.url = settings, settings.public_url
        self.http, self.directory = outside.http, outside.directory
        certificate = load_keys(settings).certificate
        self.certificate_key = certificate.public if certificate is not None else None
        self._guard, self._clock, self._user_agent = outside.guard, clock, outside.user_agent
        origin = urlsplit(self.url)
        if origin.path or origin.query or not (origin.scheme == "https" or settings.development.allow_loopback):
            raise Misconfigured("service.public_url", f"{self.url} must be https://host without a path (P83)")

    def wanted(self, label_key: PublicKey) -> Wanted:
        """What the DID document has to say."""
        feeds = self.did == self.settings.service_did
        return Wanted(label_key, self.url, certificate_key=self.certificate_key, feeds=feeds)

    async def plan(self, label_key: PublicKey) -> Plan:
        """The change of the directory's entry. Raises Misconfigured, NotAsAsked, Unreachable, RateLimited."""
        return plan_change(self.did, await self._entry(), self.wanted(label_key))

    async def _entry(self) -> PlcEntry:
        url = f"{self.settings.network.plc_url}/{self.did}/data"
        answer = await self.http.get(url)
        if answer.status in (404, 410):
            raise Misconfigured("labeler.did", f"the directory knows no {self.did} (status {answer.status})")
        if answer.status != 200:
            raise Unreachable(f"{url} answers {answer.status}")
        return PlcEntry.read(_json(answer.body))

    async def identity(self) -> Identity:
        """What the network sees now. Raises what Directory.resolve raises."""
        return await self.directory.resolve(self.did, refresh=True)

    # --- DID document ---------------------------------------------------------------------------------------

    @asynccontextmanager
    async def signed_in(self, pds: str, asking: Asking, tell: Tell) -> AsyncIterator[Session]:
        """A session of the labeler's account. Raises Refused, Unreachable, RateLimited, UnsafeHost."""
        async with signed_in(pds, self.did, asking, tell, guard=self._guard, user_agent=self._user_agent) as session:
            yield session

    async def change_identity(self, session: Session, plan: Plan, asking: Asking, tell: Tell) -> None:
        """Have the PDS sign the change and send it to the directory; returns once that shows it (P85-P87).

        Raises Refused, NotAsAsked, Unreachable, RateLimited.
        """
        token = asking.token
        if token is None:
            try:
                await session.call("com.atproto.identity.requestPlcOperationSignature")
            except Refused as error:
                raise Permanent(f"{error}. This needs the main password: app passwords may not do it") from None
            tell("a code was mailed to the account's address; it is good for a quarter of an hour")
            token = asking.code("code from the mail")
        body = {"token": token, **plan.to_sign()}
        operation = (await session.call("com.atproto.identity.signPlcOperation", body)).get("operation")
        plan.check_signed(operation)
        await session.call("com.atproto.identity.submitPlcOperation", {"operation": operation})
        for _ in range(SETTLE_SECONDS):
            if await self._entry() == plan.entry:
                self.directory.forget(self.did)
                return
            await asyncio.sleep(1.0)
        raise NotAsAsked("the directory took the change and does not show it; run the same command again in a minute")

    # --- declaration ----------------------------------------------------------------------------------------

    async def declaration(self, pds: str) -> Declaration:
        """Raises Unreachable, RateLimited, UnsafeHost, Misconfigured."""
        source = self.settings.source
        music = load_mapping(source.mapping, only=frozenset(source.collections) or None)
        wanted = build_declaration(Taxonomy.load(), music=music, created_us=self._clock.now_us())
        params = {"repo": self.did, "collection": NSID, "rkey": RKEY}
        answer = await self.http.get(f"{pds}/xrpc/com.atproto.repo.getRecord", params=params)
        said = _json(answer.body) if answer.status in (200, 400) else None
        if answer.status == 200 and isinstance(said, dict) and isinstance(said.get("value"), dict):
            value, cid = said["value"], said.get("cid")
            changes = compare_declarations(value, wanted)
            return Declaration(merge_declaration(value, wanted), cid if isinstance(cid, str) else None, (*changes,))
        if isinstance(said, dict) and said.get("error") == "RecordNotFound":
            return Declaration(wanted, None, (*compare_declarations(None, wanted),))
        raise Unreachable(f"{pds} does not say whether there is a declaration (status {answer.status})")

    async def declare(self, session: Session, declaration: Declaration) -> None:
        """Write the record, validated by the PDS against the lexicon (P23). Raises Misconfigured, Refused, ..."""
        faults = lint_declaration(declaration.record)
        if faults:
            raise Misconfigured("declaration", "; ".join(faults))
        body = {
            "repo": self.did,
            "collection": NSID,
            "rkey": RKEY,
            "validate": True,
            "record": declaration.record,
            "swapRecord": declaration.cid,
        }
        await session.call("com.atproto.repo.putRecord", body)

    async def why_unreachable(self) -> str | None:
        """Why readers would not reach the service at its public address; None if they would."""
        try:
            answer = await self.http.get(f"{self.url}/xrpc/_health")
        except (Transient, Permanent) as error:
            return str(error)
        return None if answer.status == 200 else f"{answer.url} answers {answer.status}"

    async def first_message(self) -> bytes | str | None:
        """What the label stream says first, from its beginning; None if it says nothing. Raises Unreachable."""
        reader = Verifying(self.http, self.directory, self._guard, clock=self._clock, user_agent=self._user_agent)
        async with aclosing(reader.frames(self.url, "0", idle_seconds=QUIET_SECONDS)) as messages:
            return await anext(messages, None)

    async def why_not_ready(self) -> str | None:
        """Why the declaration has to wait: readers look for the stream when they see it, and some only then (P49)."""
        why = await self.why_unreachable()
        if why is None:
            try:
                await self.first_message()
            except Unreachable as error:
                why = str(error)
        return why


@asynccontextmanager
async def open_enroller(settings: Settings, *, clock: Clock | None = None) -> AsyncIterator[Enroller]:
    """For one verb. Raises Misconfigured."""
    clock = clock or SystemClock()
    async with reaching_out(settings, clock=clock) as outside:
        yield Enroller(settings, outside, clock=clock)


def has_directory(did: Did) -> bool:
    """Whether the DID document is changed through the PLC directory; that of a did:web is a file on its host."""
    return is_plc(did)


def _json(body: bytes) -> Mapping[str, Any] | None:
    try:
        read = orjson.loads(body)
    except orjson.JSONDecodeError:
        return None
    return read if isinstance(read, dict) else None
