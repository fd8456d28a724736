"""The error tree. Each type carries its fate: never again, later, or stop.

    AppError
      Permanent(reason)         never retried; the job dies, the reason is kept and shown
        BadRecord NoAudio Held BlobGone BlobTooLarge BlobMismatch UnsafeHost NotAudio Undecodable
        Truncated TooShort TooLong UnknownDid(Tombstoned) Poison Withdrawn NotUnderstood Unproven OptedOut
      Transient(retry_after?)   the job goes back to ready with backoff
        Unreachable RateLimited Crowded Deadline ChildCrashed NoChild StoreBusy DiskFull
        Unstored Unanswered AccountAway
      Misconfigured(key, remedy)  stops the process, exit code 2
      Corrupt(what)               stops the process: never "start fresh"
      XrpcError(name, status)     becomes the wire's {error, message}

Anything else is a bug. Nobody logs *and* raises.
"""

from __future__ import annotations

from typing import ClassVar


class AppError(Exception):
    """Base of every error that Earmark raises on purpose."""


class Permanent(AppError):
    """Trying again cannot help. `reason` is the word that job rows, logs and the CLI show."""

    reason: ClassVar[str] = "refused"


class BadRecord(Permanent):
    """The record is not what its collection promises (no audio, wrong types)."""

    reason = "bad_record"


class NoAudio(BadRecord):
    """The record is well formed and names no audio that we may fetch."""

    reason = "no_audio"


class Held(BadRecord):
    """Its artist wants it kept back until a day that has not come."""

    reason = "held"


class BlobGone(Permanent):
    """The PDS says that it has no such blob or no such repository."""

    reason = "blob_gone"


class BlobTooLarge(Permanent):
    """The blob has more bytes than its record declares or than the limit allows."""

    reason = "blob_too_large"


class BlobMismatch(Permanent):
    """The bytes do not hash to the CID of the record."""

    reason = "blob_mismatch"


class UnsafeHost(Permanent):
    """The address is one that a stranger must not make us call."""

    reason = "unsafe_host"


class NotAudio(Permanent):
    """The bytes are not an audio container that we read."""

    reason = "not_audio"


class Undecodable(Permanent):
    """It looks like audio and the decoder cannot make sound of it."""

    reason = "undecodable"


class Truncated(Permanent):
    """Too little of the declared duration decodes."""

    reason = "truncated"


class TooShort(Permanent):
    """Less than 3.0 seconds."""

    reason = "too_short"


class TooLong(Permanent):
    """More seconds than `max_seconds`."""

    reason = "too_long"


class UnknownDid(Permanent):
    """No directory knows this DID, or it is tombstoned, or it is of a kind that we do not resolve."""

    reason = "unknown_did"


class Tombstoned(UnknownDid):
    """Its directory says that this DID was given up: the account is deleted (P156)."""


class Poison(Permanent):
    """The same audio crashed the listening child twice."""

    reason = "poison"


class Withdrawn(Permanent):
    """The record, its account or its artist's consent is gone."""

    reason = "withdrawn"


class NotUnderstood(Permanent):
    """A prompt that says nothing we know: it is refused rather than answered with noise."""

    reason = "not_understood"


class Unproven(Permanent):
    """The account's host shows the record without a proof that its account signed it."""

    reason = "unproven"


class OptedOut(Permanent):
    """Its artist does not want to be labelled."""

    reason = "opted_out"


class Transient(AppError):
    """Trying again later may help. `patient` errors are retried for ever."""

    reason: ClassVar[str] = "transient"
    patient: ClassVar[bool] = False

    def __init__(self, message: str, *, retry_after_seconds: float | None = None) -> None:
        super().__init__(message)
        self.retry_after_seconds = retry_after_seconds


class Unreachable(Transient):
    """No usable answer from the other side (connection, 5xx, nonsense)."""

    reason = "unreachable"


class RateLimited(Transient):
    """The other side asked us to slow down (429, 503 with Retry-After)."""

    reason = "rate_limited"


class Crowded(RateLimited):
    """The other side was not asked: it is busy with us already, or we give it a rest. Waiting costs no attempt."""

    reason = "crowded"
    patient = True


class Deadline(Transient):
    """The work did not finish in its time."""

    reason = "deadline"


class ChildCrashed(Transient):
    """The listening child died while it had this audio."""

    reason = "child_crashed"


class NoChild(Transient):
    """No listening child could be started, though one was before: the machine's trouble, not the audio's."""

    reason = "no_child"
    patient = True


class StoreBusy(Transient):
    """The database could not be had in time."""

    reason = "store_busy"


class DiskFull(Transient):
    """There is no room for what would be written; the message says where and how much it takes."""

    reason = "disk_full"
    patient = True  # the machine's trouble, not the audio's


class Unstored(Transient):
    """What could be made again was not stored; the message says why. The older copy stays."""

    reason = "unstored"
    patient = True


class Unanswered(Transient):
    """Whether the artist wants this public could not be learnt: nothing is shown meanwhile."""

    reason = "visibility_unanswered"
    patient = True


class AccountAway(Transient):
    """The account is not active, by what we were told or by its host's word (P151, P177, P189).

    `status` is that word; None when it was known before.
    """

    reason = "account_inactive"
    patient = True

    def __init__(self, message: str, *, status: str | None = None, retry_after_seconds: float | None = None) -> None:
        super().__init__(message, retry_after_seconds=retry_after_seconds)
        self.status = status


class Misconfigured(AppError):
    """A setting is wrong. The message names the key and the remedy; exit code 2."""

    def __init__(self, key: str, remedy: str) -> None:
        super().__init__(f"{key}: {remedy}")
        self.key = key
        self.remedy = remedy


class Corrupt(AppError):
    """Stored state cannot be trusted (cursor, checksum, newer schema). The process stops."""


class XrpcError(AppError):
    """An answer on the wire: `{error: name, message}` with an HTTP status (P192)."""

    def __init__(self, name: str, message: str, *, status: int = 400) -> None:
        super().__init__(message)
        self.name = name
        self.message = message
        self.status = status
