"""Whether this process may sign labels: the configured identity, checked against the network's view of it (P44)."""

from __future__ import annotations

import asyncio

from core.config import Settings
from core.errors import Misconfigured, Permanent, Transient
from core.keys import SigningKey
from core.log import Log
from core.ports import Directory
from core.types import Did, parse_did
from labeler.enroll import check_enrolment

RETRY_SECONDS = 30.0


class Enrolment:
    """The labeler's DID and key; without a key Earmark is read-only. Half a configuration is refused."""

    def __init__(self, settings: Settings, key: SigningKey | None, *, log: Log) -> None:
        """Raises Misconfigured."""
        self.key = key
        self.verified = False
        self._url = settings.public_url
        self._log = log
        if self.key is not None and not settings.labeler.did:
            raise Misconfigured("labeler.did", "a label key is configured but not whose it is; set the labeler's DID")
        if self.key is None and settings.labeler.did:
            raise Misconfigured("labeler.key_file", "labeler.did is set but there is no key to sign with; set key_file")
        try:
            self.did = parse_did(settings.labeler.did) if settings.labeler.did else Did("")
        except ValueError:
            raise Misconfigured("labeler.did", "is not a DID such as did:plc:...") from None
        # Whoever serves the document itself can have it asked for only once it listens.
        self._may_mismatch = settings.labeler.first_setup or settings.serves_itself

    def mode(self) -> str:
        """In words, for people: whether labels are published, and if not, how to begin."""
        if self.key is None:
            return (
                "read-only: analyses, serves scores and previews, publishes no labels. To enrol, make a key with "
                "`earmark labeler key new`, set labeler.did and labeler.key_file, and run `earmark labeler setup`"
            )
        return f"labels as {self.did}" if self.verified else f"waiting to verify the identity of {self.did}"

    async def refuse_mismatch(self, directory: Directory) -> None:
        """Before anything is opened: readers would drop what this key signs without a word (P44).

        A directory that does not answer is no mismatch: labels wait for it. Nor is a document that we serve ourselves,
        or the first set-up (labeler.first_setup). Raises Misconfigured.
        """
        if self.key is None or self._may_mismatch:
            return
        try:
            identity = await directory.resolve(self.did, refresh=True)
        except Transient:
            return
        except Permanent as error:
            raise Misconfigured("labeler.did", f"{error}; name the account that is to sign labels") from None
        findings = check_enrolment(identity, key=self.key.public, service_url=self._url)
        if findings:
            what = "; ".join(f"{finding.what} ({finding.remedy})" for finding in findings)
            raise Misconfigured("labeler", f"{what}. To start before that is done, set labeler.first_setup = true")
        self.verified = True

    async def wait(self, directory: Directory) -> None:
        """Until the DID document names our key and our address; says what is missing and asks again."""
        assert self.key is not None
        while not self.verified:
            try:
                identity = await directory.resolve(self.did, refresh=True)
            except (Transient, Permanent) as error:
                self._log.warning("no labels yet: our own DID document cannot be read", did=self.did, why=error)
            else:
                findings = check_enrolment(identity, key=self.key.public, service_url=self._url)
                self.verified = not findings
                for finding in findings:
                    self._log.error(f"no labels yet: {finding.what}", remedy=finding.remedy)
            if not self.verified:
                await asyncio.sleep(RETRY_SECONDS)
        self._log.info("labels are published", did=self.did)
