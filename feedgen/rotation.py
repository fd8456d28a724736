"""Rotation: who is shown in which six hours, so that a feed people reopen is not the same thirty tracks for ever.

A draw without replacement: each track runs an exponential race whose speed falls with its rank. Nothing is stored: the
same feed, slot and tracks give the same draw.
"""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from dataclasses import replace

import numpy as np
from numpy.typing import NDArray

from core.feed import Reason
from feedgen.candidates import Candidate
from feedgen.rules import SLOT_US


def name_slot(rkey: str, now_us: int, *, length_us: int = SLOT_US) -> str:
    """The seed of a feed's draw: which feed, and which six hours (or day) since the epoch."""
    return f"{rkey} {length_us} {now_us // length_us}"


def draw(ranked: Sequence[Candidate], *, seed: str, decay: float, exploration: float) -> list[Candidate]:
    """An order of `ranked` (best first): chances fall by exp(-rank/decay); a share of places ignores the rank.

    FEEDS section 3: `exploration` is that share, 0..1; such places carry the reason EXPLORE.
    """
    count = len(ranked)
    if count == 0:
        return []
    dice = np.array([_roll(seed, candidate.track.uri) for candidate in ranked])  # f64 [count, 2], 0..1
    ranks = _rank(np.array([candidate.weight for candidate in ranked]))
    by_rank = np.argsort(-np.log(-np.log(dice[:, 0])) - ranks / decay, kind="stable").tolist()  # whose turn it is: last
    by_chance = np.argsort(dice[:, 1], kind="stable").tolist()
    blind = np.random.default_rng(_seed_number(seed)).random(count) < exploration
    blind[0] = False
    left = np.ones(count, bool)
    order: list[Candidate] = []
    for ignores_rank in blind.tolist():
        queue = by_chance if ignores_rank else by_rank
        place = _next(queue, left)
        left[place] = False
        chosen = ranked[place]
        order.append(replace(chosen, reason=Reason.EXPLORE) if ignores_rank else chosen)
    return order


def _rank(weights: NDArray[np.float64]) -> NDArray[np.float64]:
    """Ranks from 0 of weights that fall; of equal ones their mean: what an address begins with earns nothing."""
    _, group, sizes = np.unique(-weights, return_inverse=True, return_counts=True)
    ends = np.cumsum(sizes)
    return np.asarray((ends - (sizes + 1) / 2)[group])


def _next(queue: list[int], left: NDArray[np.bool_]) -> int:
    """The last of the queue that is left; what is not goes."""
    while not left[queue[-1]]:
        queue.pop()
    return queue.pop()


def _roll(seed: str, uri: str) -> tuple[float, float]:
    """Two numbers in (0, 1), always the same for a track in a slot."""
    digest = hashlib.blake2b(f"{seed} {uri}".encode(), digest_size=16).digest()
    first, second = (int.from_bytes(part, "big") for part in (digest[:8], digest[8:]))
    return (first + 1) / (2**64 + 2), (second + 1) / (2**64 + 2)


def _seed_number(seed: str) -> int:
    return int.from_bytes(hashlib.blake2b(seed.encode(), digest_size=8).digest(), "big")
