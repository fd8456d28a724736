"""`labeler check`: what others need to find us, reach us and believe us, looked at from outside and in that order."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable
from dataclasses import dataclass
from email.utils import parsedate_to_datetime
from typing import Any

import orjson

from core.errors import AppError, Permanent, Transient
from core.frames import BadFrame, ErrorFrame
from core.keys import PublicKey
from core.ports import Identity
from earmark.enrolling import Enroller
from labeler.enroll import Finding, check_certificates, check_enrolment
from labeler.frames import LabelsFrame, read_frame
from labeler.signing import verify

MAX_SKEW_SECONDS = 30.0  # the leeway of service tokens (P119)
VERIFIES = "answers, and the first label verifies"
QUERY = "com.atproto.label.queryLabels"


@dataclass(frozen=True, slots=True)
class Looked:
    """One thing that was looked at. No finding: it is as it should be; `note` says what was seen."""

    name: str
    findings: tuple[Finding, ...] = ()
    note: str = ""


class Checkup:
    """Looks; changes nothing and needs no password."""

    def __init__(self, enroller: Enroller, key: PublicKey, *, now_us: Callable[[], int]) -> None:
        self._enroller, self._key, self._now_us = enroller, key, now_us

    async def run(self) -> AsyncIterator[Looked]:
        """What stands on something that is not there is left out."""
        yield self._announcer()
        yield await self._skew()
        try:
            identity = await self._enroller.identity()
        except (Transient, Permanent) as error:
            remedy = "check labeler.did, network.plc_url, the host of a did:web and this machine's network"
            yield Looked("DID document", (Finding(str(error), remedy),))
            return
        yield self._document(identity)
        why = await self._enroller.why_unreachable()
        if why is not None:
            remedy = "start earmark serve, and let the TLS proxy of service.public_url forward to it without redirects"
            yield Looked("address", (Finding(why, remedy),))
        else:
            yield Looked("address", note=f"{self._enroller.url} answers")
            labels = await self._labels(identity)
            yield labels
            yield await self._stream(identity, has_labels=labels.note == VERIFIES)
        yield await self._declaration(identity)

    def _announcer(self) -> Looked:
        settings = self._enroller.settings
        if settings.announcer.did != self._enroller.did:
            return Looked("announcer", note=settings.announcer.did or "none")
        what = "the announcer is the labeler: clients take its labels for self-labels and drop them (P27)"
        return Looked("announcer", (Finding(what, "set announcer.did to another account"),))

    async def _skew(self) -> Looked:
        """Against the directory's clock, or another's: any server's Date is near enough."""
        url = f"{self._enroller.settings.network.plc_url}/_health"
        try:
            date = (await self._enroller.http.get(url)).headers.get("date", "")
            skew = self._now_us() / 1e6 - parsedate_to_datetime(date).timestamp()
        except (Transient, Permanent, ValueError) as error:
            return Looked("clock", (Finding(f"nobody says what time it is: {error}", "check the network"),))
        if abs(skew) <= MAX_SKEW_SECONDS:
            return Looked("clock", note=f"{skew:+.0f} s")
        what = f"this machine's clock is {abs(skew):.0f} s {'ahead' if skew > 0 else 'behind'}"
        return Looked("clock", (Finding(what, "synchronise it (NTP): labels and service tokens carry times"),))

    def _document(self, identity: Identity) -> Looked:
        findings = check_enrolment(identity, key=self._key, service_url=self._enroller.url)
        if self._enroller.certificate_key is not None:
            findings += check_certificates(identity, key=self._enroller.certificate_key)
        return Looked("DID document", tuple(findings), note="names our key and address")

    async def _labels(self, identity: Identity) -> Looked:
        """The first label as anybody gets it over HTTPS."""
        url = f"{self._enroller.url}/xrpc/{QUERY}"
        try:
            answer = await self._enroller.http.get(url, params={"uriPatterns": "*", "limit": "1"})
            labels = orjson.loads(answer.body)["labels"] if answer.status == 200 else None
        except (AppError, ValueError, KeyError, TypeError) as error:
            return Looked("queryLabels", (Finding(str(error), "look at the log of earmark serve"),))
        if not isinstance(labels, list):
            return Looked("queryLabels", (Finding(f"it answers {answer.status}", "look at the log of earmark serve"),))
        return self._believe("queryLabels", labels, identity)

    async def _stream(self, identity: Identity, *, has_labels: bool) -> Looked:
        """The socket opens; if there are labels, the first comes at once."""
        remedy = "let the TLS proxy pass WebSockets on, without buffering or compression (P80)"
        try:
            message = await self._enroller.first_message()
        except (Transient, Permanent) as error:
            return Looked("subscribeLabels", (Finding(str(error), remedy),))
        if message is None and not has_labels:
            return Looked("subscribeLabels", note="opens; there is no label yet")
        if message is None:
            return Looked("subscribeLabels", (Finding("it opens and sends none of the labels", remedy),))
        try:
            frame = read_frame(message) if isinstance(message, bytes) else None
        except (BadFrame, ErrorFrame) as error:
            return Looked("subscribeLabels", (Finding(f"the first frame cannot be read: {error}", remedy),))
        if not isinstance(frame, LabelsFrame):
            return Looked("subscribeLabels", (Finding("the first frame carries no labels (P63)", remedy),))
        return self._believe("subscribeLabels", [dict(label) for label in frame.labels], identity)

    def _believe(self, name: str, labels: list[Any], identity: Identity) -> Looked:
        """Whether a stranger believes the first label: by the key in the DID document, not by ours."""
        if not labels:
            return Looked(name, note="answers; there is no label yet")
        first, key = labels[0], identity.label_key
        if isinstance(first, dict) and first.get("src") == identity.did and key is not None and verify(first, key):
            return Looked(name, note=VERIFIES)
        what = f"the first label does not verify with the key in the DID document of {identity.did}"
        return Looked(name, (Finding(what, "restart earmark serve with the key that the document names"),))

    async def _declaration(self, identity: Identity) -> Looked:
        if identity.pds is None:
            return Looked("declaration", note="no repository: music clients only, Bluesky needs one (P89)")
        try:
            declaration = await self._enroller.declaration(identity.pds)
        except (Transient, Permanent) as error:
            return Looked("declaration", (Finding(str(error), "ask again once the PDS answers"),))
        if not declaration.changes:
            return Looked("declaration", note="up to date")
        what = f"it is missing or out of date: {declaration.changes[0]}"
        if (more := len(declaration.changes) - 1) > 0:
            what += f" and {more} more"
        return Looked("declaration", (Finding(what, "run: earmark labeler setup"),))
