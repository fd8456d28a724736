"""CPU seconds by stage, taken inside the real pipeline: its own classes, with a stopwatch around their methods."""

from __future__ import annotations

import functools
import time
from collections import Counter
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any


class Stopwatch:
    """Time inside a stage that another one calls counts for the inner one only."""

    def __init__(self) -> None:
        self.spent: Counter[str] = Counter()
        self._running: list[str] = []
        self._since = 0.0

    def around(self, stage: str, work: Callable[..., Any]) -> Callable[..., Any]:
        """The same callable, timed."""

        @functools.wraps(work)
        def timed(*arguments: Any, **keywords: Any) -> Any:
            self._enter(stage)
            try:
                return work(*arguments, **keywords)
            finally:
                self._leave()

        return timed

    def around_steps(self, stage: str, generate: Callable[..., Iterator[Any]]) -> Callable[..., Iterator[Any]]:
        """The same for a generator: what it does between two of its yields."""

        @functools.wraps(generate)
        def timed(*arguments: Any, **keywords: Any) -> Iterator[Any]:
            steps = generate(*arguments, **keywords)
            advance = self.around(stage, lambda: next(steps, None))
            while (step := advance()) is not None:
                yield step

        return timed

    def watch(self, stage: str, owner: Any, *names: str) -> None:
        """Replace these methods (or functions of a module) by timed ones."""
        for name in names:
            setattr(owner, name, self.around(stage, getattr(owner, name)))

    def watch_sessions(self, module: Any, stages: dict[str, str]) -> None:
        """Time each model that the module opens: by the start of its file's name."""
        plain = module.open_session

        def open_session(path: Path) -> Any:
            stage = next((stages[start] for start in stages if path.name.startswith(start)), path.stem)
            return _TimedSession(plain(path), self, stage)

        module.open_session = open_session

    def _enter(self, stage: str) -> None:
        self._charge()
        self._running.append(stage)

    def _leave(self) -> None:
        self._charge()
        self._running.pop()

    def _charge(self) -> None:
        now = time.process_time()
        if self._running:
            self.spent[self._running[-1]] += now - self._since
        self._since = now


class _TimedSession:
    def __init__(self, session: Any, stopwatch: Stopwatch, stage: str) -> None:
        self._session = session
        self.run = stopwatch.around(stage, session.run)

    def __getattr__(self, name: str) -> Any:
        return getattr(self._session, name)
