"""The command line: `earmark VERB`. Each verb is a file in `earmark/commands/`, imported only when it runs.

Exit codes: 0 fine, 1 findings, 2 usage or configuration, 3 unavailable.
"""

from __future__ import annotations

import errno
import importlib
import os
import sys
from pathlib import Path
from typing import ClassVar

import click

from core.errors import AppError, Misconfigured
from earmark import __version__


class _Verbs(click.Group):
    """Loads a verb's module when it is asked for, so that `--help` is instant."""

    modules: ClassVar[dict[str, tuple[str, str]]] = {
        "demo": ("demo", "Embedded network + the whole service on your own or synthesised audio."),
        "serve": ("serve", "Run the service: firehose, listening, labels and feeds in one process."),
        "classify": ("classify", "Genres, labels, moods and tags of local audio files; no network, no store."),
        "moods": ("moods", 'What a prompt such as "dark ambient techno" means, and which local files fit it.'),
        "network": ("network", "What comes in from the network, how late, and what is wrong."),
        "track": ("track", "Where a record is in the pipeline, what was decided and why."),
        "backfill": ("backfill", "Bring what was published before Earmark listened; find what was deleted."),
        "reanalyse": ("reanalyse", "Move what was heard to other model packs, or show how far that is."),
        "disputes": ("disputes", "What artists and listeners say of labels; accept, reject, see who did what."),
        "labeler": ("labeler", "Enrol the account that signs labels; see what others see of it."),
        "labels": ("labels", "Why labels are as they are; list, take back, judge again, verify."),
        "eval": ("eval", "How right labels and feeds are on a folder of known music; fit thresholds."),
        "feeds": ("feeds", "Which feeds there are and why; preview, try one out, publish them."),
        "models": ("models", "List, pull, verify and remove model packs."),
        "config": ("config", "Show the configuration in force."),
    }

    def list_commands(self, ctx: click.Context) -> list[str]:
        return list(self.modules)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        if cmd_name not in self.modules:
            return None
        module = importlib.import_module(f"earmark.commands.{self.modules[cmd_name][0]}")
        command: click.Command = module.command
        return command

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        with formatter.section("Verbs"):
            formatter.write_dl([(name, text) for name, (_, text) in self.modules.items()])


@click.command(cls=_Verbs, context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 100})
@click.version_option(__version__, prog_name="earmark")
@click.option(
    "--config",
    "config_path",
    type=click.Path(path_type=Path, dir_okay=False),
    envvar="EARMARK_CONFIG",
    help="TOML file with settings (see config.example.toml). Environment variables override it.",
)
@click.pass_context
def cli(ctx: click.Context, config_path: Path | None) -> None:
    """Earmark listens to music on the AT Protocol network, publishes genres as signed labels,
    and serves mood feeds.

    \b
    Try it:         earmark demo
    On your files:  earmark classify song.mp3
    For real:       earmark --config config.toml serve
    """
    ctx.obj = config_path


def main() -> None:
    """Entry point. Typed errors become one line and an exit code; only bugs show a traceback."""
    try:
        cli(standalone_mode=False)
    except click.exceptions.Exit as leave:
        sys.exit(leave.exit_code)
    except click.Abort:
        click.echo("stopped", err=True)
        sys.exit(130)
    except click.ClickException as error:
        error.show()
        sys.exit(2)
    except Misconfigured as error:
        click.echo(f"earmark: {error}", err=True)
        sys.exit(2)
    except AppError as error:
        click.echo(f"earmark: {error}", err=True)
        sys.exit(3)
    except OSError as error:
        if error.errno not in (errno.ENOSPC, errno.EPIPE):
            raise
        # Nobody reads on (`| head`), or the disk that we print to is full; what Python still holds has nowhere to go.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        click.echo(f"earmark: the output cannot be written ({error.strerror})", err=True)
        sys.exit(3)


if __name__ == "__main__":
    main()
