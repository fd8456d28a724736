"""What a verb asks of its operator before it changes something outside: consent, a password, codes from the mail."""

from __future__ import annotations

import os
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path

import click

from core.errors import Misconfigured
from core.types import Did
from earmark.session import Refused, Session, open_session
from firehose.guard import Guard

PASSWORD = "EARMARK_PDS_PASSWORD"  # noqa: S105 - the name of the variable, not what is in it


@dataclass(frozen=True, slots=True)
class Asking:
    """Answers given with the command, and prompts on stderr for the rest. Secrets are asked for without an echo."""

    yes: bool = False
    password_file: Path | None = None
    token: str | None = None

    def agree(self, question: str) -> None:
        """Raises click.Abort if the operator does not."""
        if not self.yes:
            click.confirm(question, abort=True, err=True)

    def password(self, whose: str) -> str:
        """From the file, the environment, or typed. Raises Misconfigured."""
        if self.password_file is not None:
            try:
                return self.password_file.read_text("utf-8").strip()
            except (OSError, UnicodeDecodeError) as error:
                raise Misconfigured("--password-file", f"cannot be read ({type(error).__name__})") from None
        given = os.environ.get(PASSWORD)
        return given or str(click.prompt(f"password of {whose}", hide_input=True, err=True))

    def code(self, what: str) -> str:
        """A code that came by mail."""
        return str(click.prompt(what, err=True)).strip()


@asynccontextmanager
async def signed_in(
    pds: str, did: Did, asking: Asking, tell: Callable[[str], None], *, guard: Guard, user_agent: str
) -> AsyncIterator[Session]:
    """A session of one of the operator's accounts. Raises Refused, Unreachable, RateLimited, UnsafeHost."""
    async with open_session(pds, guard=guard, user_agent=user_agent) as session:
        password = asking.password(did)
        try:
            await session.sign_in(did, password)
        except Refused as error:
            if error.name != "AuthFactorTokenRequired":
                raise
            tell("the account asks for the code that was mailed to its address")
            await session.sign_in(did, password, code=asking.code("sign-in code"))
        yield session
