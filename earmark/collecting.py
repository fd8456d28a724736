"""How often Python looks for garbage that counting references does not find."""

from __future__ import annotations

import gc

# New objects until the young, rounds until the middle-aged, rounds until all are looked through.
_THRESHOLDS = (2_000, 10, 500)


def collect_rarely() -> None:
    """For the whole process. Ranking a hundred thousand tracks makes a million objects, and looking through all that
    live, which holds everything up, would come some ten times in each of these rebuilds: 0.4 to 1.3 s each, half of all
    the time. Little of what is made here is garbage of that kind, and most of it dies young.
    """
    gc.set_threshold(*_THRESHOLDS)
