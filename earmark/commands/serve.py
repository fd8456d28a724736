"""`earmark serve`: all roles in one process, until SIGTERM or Ctrl-C."""

from __future__ import annotations

import asyncio
import signal
from pathlib import Path

import click

from core.config import Settings
from core.log import set_up
from earmark.collecting import collect_rarely
from earmark.compose import build


@click.command("serve")
@click.pass_obj
def command(config_path: Path | None) -> None:
    """Run the service: firehose, listening, labels and feeds in one process.

    \b
    Without [labeler] did and key_file it is read-only: it analyses, serves scores and previews, and
    publishes nothing. State lives in the data folder (storage.folder); after a restart it goes on where it stopped.
    Started with other model packs, it hears all tracks again in the background and then switches
    (earmark reanalyse shows how far).
    SIGTERM or Ctrl-C stops it within ten seconds.
    """
    settings = Settings.load(config_path)
    log = set_up(level=settings.log.level, form=settings.log.format)
    service = build(settings, log=log)
    collect_rarely()

    async def main() -> None:
        stop = asyncio.Event()
        loop = asyncio.get_running_loop()
        for signum in (signal.SIGTERM, signal.SIGINT):
            loop.add_signal_handler(signum, stop.set)
        await service.run(stop)

    asyncio.run(main())
