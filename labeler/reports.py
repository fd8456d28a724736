"""`com.atproto.moderation.createReport` (P93-P97): who says what about which record. The rest is the desk's part."""

from __future__ import annotations

import hashlib
import unicodedata
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Protocol

from core.clock import Clock, format_datetime
from core.errors import XrpcError
from core.log import Log
from core.metrics import Metrics
from core.ports import Directory
from core.serviceauth import Claims, bearer, keys_of, verify
from core.types import AtUri, Did
from core.xrpc import Call, Procedure
from labeler.vocabulary import REASON_APPEAL, REASON_TYPES
from store import Store, used_tokens

NSID = "com.atproto.moderation.createReport"
MAX_WORDS_BYTES, MAX_WORDS_GRAPHEMES = 20_000, 2_000  # P93
MAX_CID_CHARS = 256
RECORD, ACCOUNT = "com.atproto.repo.strongRef", "com.atproto.admin.defs#repoRef"


@dataclass(frozen=True, slots=True)
class Report:
    """What somebody says of one record. `words` may be empty; `subject_cid` is the version that they saw."""

    reporter: Did
    reason_type: str
    subject: AtUri
    subject_cid: str
    words: str

    @property
    def is_appeal(self) -> bool:
        return self.reason_type in REASON_APPEAL


@dataclass(frozen=True, slots=True)
class Receipt:
    """The number of a report and when it came; both of the first one if it was sent again."""

    number: int
    created_us: int


class Desk(Protocol):
    """Does what a report asks for."""

    async def take(self, report: Report) -> Receipt:
        """Raises XrpcError when it is none that we take."""
        ...


class ReportMethod:
    """Believes tokens for `did` with or without `#atproto_labeler` (P117), each of them once (P122)."""

    def __init__(
        self, store: Store, desk: Desk, *, did: Did, directory: Directory, clock: Clock, log: Log, metrics: Metrics
    ) -> None:
        self._store = store
        self._desk = desk
        self._audiences = (did, f"{did}#atproto_labeler")
        self._resolve_key = keys_of(directory)
        self._clock = clock
        self._log = log
        self._metrics = metrics
        self.procedure = Procedure(NSID, self.create_report)

    async def create_report(self, call: Call) -> Mapping[str, Any]:
        """Raises XrpcError: 401 (P126), 400 InvalidRequest or UnknownTrack, 403 Forbidden, 429 RateLimitExceeded."""
        try:
            answer = await self._take(call)
        except XrpcError as error:
            self._metrics.reports.labels(error.name).inc()  # names are ours, a dozen
            raise
        self._metrics.reports.labels("taken").inc()
        return answer

    async def _take(self, call: Call) -> Mapping[str, Any]:
        token = bearer(call.headers) or ""
        claims = await verify(
            token,
            audiences=self._audiences,
            method=NSID,
            now_us=self._clock.now_us(),
            resolve_key=self._resolve_key,
        )
        await self._use(token, claims)
        report = read_report(call.body, claims.iss)
        receipt = await self._desk.take(report)
        said = {"reason": report.words} if report.words else {}
        return {
            "id": receipt.number,
            "reasonType": report.reason_type,
            **said,
            "subject": {"$type": RECORD, "uri": str(report.subject), "cid": report.subject_cid},
            "reportedBy": report.reporter,
            "createdAt": format_datetime(receipt.created_us),
        }

    async def _use(self, token: str, claims: Claims) -> None:
        """A token counts once, even if what it was used for is refused. One without `jti` is known by its own text:
        it has no other (P122).
        """
        if claims.jti is None:
            self._metrics.reports.labels("without_jti").inc()
        known_by = hashlib.sha256((claims.jti or token).encode("utf-8", "surrogatepass")).hexdigest()
        now_us = self._clock.now_us()
        async with self._store.write() as tx:
            crowded = await used_tokens.too_many(tx, claims.iss, now_us=now_us)
            fresh = crowded or await used_tokens.use(
                tx, claims.iss, known_by, until_us=claims.exp * 1_000_000, now_us=now_us
            )
        self._log.debug("report token", iss=claims.iss, aud=claims.aud, token=known_by[:16], fresh=fresh)
        if crowded:
            raise XrpcError("RateLimitExceeded", "too many reports; come back later", status=429)
        if not fresh:
            raise XrpcError("BadJwt", "the token was used before", status=401)


def read_report(body: Any, reporter: Did) -> Report:
    """The report in a request's body. Raises XrpcError InvalidRequest for what the lexicon or our declaration excludes
    (P91, P94).
    """
    if not isinstance(body, dict):
        raise _invalid("the body must be an object")
    reason_type, words, tool = body.get("reasonType"), body.get("reason"), body.get("modTool")
    if reason_type not in REASON_TYPES:
        raise _invalid("reasonType must be one of those that our declaration lists: other, or an appeal")
    if words is not None and not isinstance(words, str):
        raise _invalid("reason must be a text")
    if tool is not None and not (isinstance(tool, dict) and isinstance(tool.get("name"), str)):
        raise _invalid("modTool must be an object with a name")
    subject, cid = _subject(body.get("subject"))
    return Report(reporter, reason_type, subject, cid, _checked(words or ""))


def _subject(subject: Any) -> tuple[AtUri, str]:
    if not isinstance(subject, dict):
        raise _invalid("subject must be an object")
    if subject.get("$type") == ACCOUNT:
        raise _invalid("we label records, never accounts: report a track, or a post that shares it")
    uri, cid = subject.get("uri"), subject.get("cid")
    if subject.get("$type") != RECORD or not isinstance(uri, str) or not isinstance(cid, str):
        raise _invalid("subject must be a strongRef, with its $type, uri and cid")
    if not 0 < len(cid) <= MAX_CID_CHARS or not cid.isascii() or not cid.isalnum():
        raise _invalid("the subject's cid is none")
    try:
        return AtUri.parse(uri), cid
    except ValueError:
        raise _invalid("the subject's uri must be the at-uri of a record, with a DID") from None


def _checked(words: str) -> str:
    try:
        size = len(words.encode())
    except UnicodeEncodeError:
        raise _invalid("reason is not valid Unicode") from None
    if size > MAX_WORDS_BYTES or _fewest_graphemes(words) > MAX_WORDS_GRAPHEMES:
        raise _invalid(f"reason may have {MAX_WORDS_GRAPHEMES} characters and {MAX_WORDS_BYTES} bytes")
    return words


def _fewest_graphemes(text: str) -> int:
    """No more than the graphemes of a text: what may join the character before it is not counted, so that nothing that
    the lexicon allows is refused.
    """
    joined = False
    count = 0
    for char in text:
        point = ord(char)
        joins = unicodedata.category(char) in ("Mn", "Mc", "Me", "Cf") or 0x1F3FB <= point <= 0x1F3FF
        joins = joins or 0x1160 <= point <= 0x11FF or 0x1F1E6 <= point <= 0x1F1FF or char == "\n"
        count += not (joins or joined)
        joined = char == "\u200d"
    return count


def _invalid(message: str) -> XrpcError:
    return XrpcError("InvalidRequest", message)
