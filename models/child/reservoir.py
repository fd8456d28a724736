"""Keeps evenly spaced members of a stream whose length nobody knows yet, in bounded memory."""

from __future__ import annotations

from collections.abc import Callable
from typing import Generic, TypeVar

Kept = TypeVar("Kept")


class Reservoir(Generic[Kept]):
    """Holds every member until it is full, then drops every second one and from there on keeps every 2nd, 4th, 8th.

    So it holds `capacity` at most, and at least half as many once it overflowed.
    """

    def __init__(self, capacity: int) -> None:
        self.kept: list[Kept] = []
        self.offered = 0
        self._capacity = capacity
        self._stride = 1

    def offer(self, make: Callable[[], Kept]) -> None:
        """The next member; it is made only if it is kept."""
        if self.offered % self._stride == 0 and len(self.kept) == self._capacity:
            self.kept = self.kept[::2]
            self._stride *= 2
        if self.offered % self._stride == 0:
            self.kept.append(make())
        self.offered += 1
