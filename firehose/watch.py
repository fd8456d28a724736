"""Notices that an upstream has gone blind: it still tells of others, but no more of our collections (P159, P169).

Everything is measured in the times that events carry, so that a replay, a pause or a wrong clock of ours changes
nothing.
"""

from __future__ import annotations

LEAST_SILENCE_US = 600_000_000  # always usual, also before anything is known
LIMIT_US = 7_200_000_000  # the longest silence that is believed without asking another host
FACTOR = 3  # how many times the longest usual silence is suspicious
FORGET_US = 86_400_000_000  # after so long a usual silence counts half: nights are quieter than days
ALIVE = 100  # messages about others that prove that the network is alive
SKEW_US = 60_000_000  # hosts stamp the same event with their own clocks


class Watch:
    """How long our collections are usually silent, and from when on what we heard is in doubt.

    A silence is believed when an event of ours ends it, or when the next host was asked about the same time and told
    nothing either; it is then usual, and the limit grows with it: a quiet network does not make hosts change for ever.
    """

    def __init__(self, since_us: int | None) -> None:
        self.sure_us = since_us  # up to here everything of ours was heard; None: nothing was heard at all
        self._usual_us = float(LEAST_SILENCE_US)
        self._others = 0
        self._asked_again_until_us: int | None = None  # the next host tells once more of the time up to here

    @property
    def asking_again(self) -> bool:
        """Whether a host still tells of a time that another one told of before."""
        return self._asked_again_until_us is not None

    @property
    def limit_us(self) -> int:
        """A longer silence is suspicious."""
        return int(min(FACTOR * self._usual_us, LIMIT_US))

    def hear_ours(self, time_us: int, *, repeated: bool) -> bool:
        """An event of our collections, or one that shows that the upstream still sees them. Whether the host before
        this one did not tell it.
        """
        again = self._asked_again_until_us
        missed = again is not None and time_us < again - SKEW_US and not repeated
        self._believe(time_us)
        return missed

    def hear_other(self, time_us: int) -> bool:
        """Any other event. Whether the silence about ours is suspicious by now."""
        if self.sure_us is None:
            self.sure_us = time_us
        self._others += 1
        if self._asked_again_until_us is not None:
            if time_us < self._asked_again_until_us:
                return False
            self._believe(self._asked_again_until_us)  # the new host told nothing of ours for that time either
        return self._others >= ALIVE and time_us - self.sure_us > self.limit_us

    def change_host(self, heard_us: int) -> None:
        """The next host is asked from `sure_us` on; the one before it had told everything it has up to `heard_us`."""
        self._others = 0
        self._asked_again_until_us = max(heard_us, self._asked_again_until_us or 0)

    def start_over(self, time_us: int) -> None:
        """What was before cannot be asked for any more."""
        self.sure_us = time_us
        self._asked_again_until_us = None

    def _believe(self, time_us: int) -> None:
        if self._asked_again_until_us is not None and time_us >= self._asked_again_until_us:
            self._asked_again_until_us = None
        if self.sure_us is None:
            self.sure_us = time_us
        silence = time_us - self.sure_us
        if silence <= 0:
            return
        self._usual_us = max(silence, LEAST_SILENCE_US, self._usual_us * 0.5 ** (silence / FORGET_US))
        self.sure_us, self._others = time_us, 0
