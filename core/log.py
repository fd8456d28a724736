"""Structured logs to stderr: one line an event, `key=value` or JSON; bound fields, never record text or tokens."""

from __future__ import annotations

import json
import logging
import sys
from typing import Any, Literal, TextIO

_FIELDS = "fields"


class Log:
    """A logger with bound fields. `log.info("label published", uri=..., seq=...)`."""

    __slots__ = ("_bound", "_logger")

    def __init__(self, logger: logging.Logger, **bound: Any) -> None:
        self._logger = logger
        self._bound = bound

    def bind(self, **fields: Any) -> Log:
        return Log(self._logger, **(self._bound | fields))

    def debug(self, message: str, **fields: Any) -> None:
        self._logger.debug(message, extra={_FIELDS: self._bound | fields})

    def info(self, message: str, **fields: Any) -> None:
        self._logger.info(message, extra={_FIELDS: self._bound | fields})

    def warning(self, message: str, **fields: Any) -> None:
        self._logger.warning(message, extra={_FIELDS: self._bound | fields})

    def error(self, message: str, **fields: Any) -> None:
        self._logger.error(message, extra={_FIELDS: self._bound | fields})

    def exception(self, message: str, **fields: Any) -> None:
        """With the traceback of the exception being handled: for bugs only."""
        self._logger.error(message, exc_info=sys.exc_info(), extra={_FIELDS: self._bound | fields})


def _plain(text: object) -> str:
    """Strangers' words on one line: control characters become spaces."""
    return "".join(char if char.isprintable() else " " for char in str(text))[:500]


class _Text(logging.Formatter):
    def format(self, record: logging.LogRecord) -> str:
        fields = getattr(record, _FIELDS, {})
        pairs = " ".join(f"{key}={_quoted(value)}" for key, value in fields.items() if value is not None)
        stamp = self.formatTime(record, "%Y-%m-%dT%H:%M:%S")
        line = f"{stamp} {record.levelname.lower():7} {_plain(record.getMessage())}{' ' + pairs if pairs else ''}"
        return line + ("\n" + self.formatException(record.exc_info) if record.exc_info else "")


def _quoted(value: object) -> str:
    text = _plain(value)
    return json.dumps(text, ensure_ascii=False) if " " in text or not text else text


class _Json(logging.Formatter):
    def format(self, record: logging.LogRecord) -> str:
        out = {"time": self.formatTime(record, "%Y-%m-%dT%H:%M:%S%z"), "level": record.levelname.lower()}
        out["message"] = _plain(record.getMessage())
        out |= {key: _plain(value) for key, value in getattr(record, _FIELDS, {}).items() if value is not None}
        if record.exc_info:
            out["traceback"] = self.formatException(record.exc_info)
        return json.dumps(out, ensure_ascii=False)


def set_up(*, level: str = "info", form: Literal["text", "json"] = "text", stream: TextIO | None = None) -> Log:
    """The process's log. Libraries log through it at warning and above."""
    sink = logging.StreamHandler(stream or sys.stderr)
    sink.setFormatter(_Json() if form == "json" else _Text())
    root = logging.getLogger()
    root.handlers[:] = [sink]
    root.setLevel(logging.WARNING)
    # What strangers send that is no HTTP it would log as errors, with its bytes: tokens among them (P127).
    logging.getLogger("aiohttp.server").setLevel(logging.CRITICAL)
    ours = logging.getLogger("earmark")
    ours.setLevel(level.upper())
    return Log(ours)
