"""The cursor of `getActorReport`: several lists go on together, each from a place of its own."""

from __future__ import annotations

import base64
import binascii
from dataclasses import astuple, dataclass

import orjson

from core.errors import XrpcError

_NUMBERS = 2**62


@dataclass(frozen=True, slots=True)
class Place:
    """Where the next page goes on in each list; None: that list is over. Actions go backwards."""

    track: int | None = 0
    post: str | None = ""
    dispute: int | None = 0
    action: int | None = _NUMBERS

    @classmethod
    def parse(cls, text: str | None) -> Place:
        """Of a cursor as `__str__` writes it. Raises XrpcError InvalidRequest."""
        if text is None:
            return cls()
        try:
            fields = orjson.loads(base64.b64decode(text.encode("ascii"), altchars=b"-_", validate=True))
            place = cls(*fields) if isinstance(fields, list) and len(fields) == 4 else None
        except (binascii.Error, ValueError):
            place = None
        if place is None or not isinstance(place.post, str | None) or not all(map(_is_number, place._numbers)):
            raise XrpcError("InvalidRequest", "not a cursor of this method")
        return place

    def __str__(self) -> str:
        return base64.urlsafe_b64encode(orjson.dumps(astuple(self))).decode("ascii")

    @property
    def _numbers(self) -> tuple[object, ...]:
        return (self.track, self.dispute, self.action)


def _is_number(value: object) -> bool:
    return value is None or (isinstance(value, int) and not isinstance(value, bool) and 0 <= value <= _NUMBERS)
