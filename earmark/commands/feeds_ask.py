"""Who answers questions about feeds: the service that runs, else one that is made for the answer and serves nobody."""

from __future__ import annotations

import asyncio
from typing import Any

import click
import msgspec

from core.config import Settings
from core.log import set_up
from earmark.compose import build
from earmark.control import Refused, call
from earmark.previewing import ROUTE, Question
from store import Store


def ask(settings: Settings, question: Question) -> dict[str, Any]:
    """Raises NotRunning, Misconfigured, Corrupt, and click's exceptions for what was asked wrongly."""
    try:
        if Store.is_in_use(settings.database):
            (told,) = call(settings, ROUTE, msgspec.to_builtins(question))
            return told
        if not settings.database.exists():
            raise click.ClickException(f"there is no database in {settings.data} yet; start: earmark serve")
        service = build(settings, log=set_up(level="warning", form=settings.log.format))
        return asyncio.run(service.preview(question))
    except Refused as error:
        raise click.ClickException(str(error)) from None
