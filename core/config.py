"""Every setting in one declarative model: TOML file, environment over it (ARCHITECTURE section 7).

`EARMARK_SECTION__KEY=value` in the environment overrides `key` in `[section]`; `EARMARK_HOME` is the home folder.
Units are in the names. Secrets come from a file or the environment and are masked wherever settings are shown.
"""

from __future__ import annotations

import difflib
import re
import tomllib
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Self
from urllib.parse import urlsplit

from pydantic import BaseModel, Field, ValidationError, model_validator
from pydantic_settings import BaseSettings, PydanticBaseSettingsSource, SettingsConfigDict, SettingsError

from core import sections
from core.errors import Misconfigured
from core.home import default_home
from core.sections import is_loopback


class Settings(BaseSettings):
    """The whole configuration. `load` reads it; unknown keys are refused with the nearest name."""

    model_config = SettingsConfigDict(
        env_prefix="EARMARK_", env_nested_delimiter="__", extra="forbid", frozen=True, env_ignore_empty=True
    )

    home: Path = Field(default_factory=default_home, description="model packs, and by default the data")
    storage: sections.Storage = sections.Storage()
    service: sections.Service = sections.Service()
    source: sections.Source = sections.Source()
    network: sections.Network = sections.Network()
    linking: sections.Linking = sections.Linking()
    backfill: sections.Backfill = sections.Backfill()
    control: sections.Control = sections.Control()
    labeler: sections.Labeler = sections.Labeler()
    announcer: sections.Announcer = sections.Announcer()
    certificates: sections.Certificates = sections.Certificates()
    reports: sections.Reports = sections.Reports()
    limits: sections.Limits = sections.Limits()
    feeds: sections.Feeds = sections.Feeds()
    listening: sections.Listening = sections.Listening()
    queue: sections.Queue = sections.Queue()
    policy: sections.Policy = sections.Policy()
    development: sections.Development = sections.Development()
    log: sections.Log = sections.Log()

    @classmethod
    def settings_customise_sources(
        cls,
        settings_cls: type[BaseSettings],
        init_settings: PydanticBaseSettingsSource,
        env_settings: PydanticBaseSettingsSource,
        dotenv_settings: PydanticBaseSettingsSource,
        file_secret_settings: PydanticBaseSettingsSource,
    ) -> tuple[PydanticBaseSettingsSource, ...]:
        return (env_settings, init_settings)  # environment over file

    @model_validator(mode="after")
    def _loopback_only_on_loopback(self) -> Self:
        if self.development.allow_loopback and not is_loopback(self.service.host):
            raise ValueError(
                f"development.allow_loopback: refused while service.host is {self.service.host}; listen on 127.0.0.1"
            )
        return self

    @classmethod
    def load(cls, path: Path | None = None, **overrides: Any) -> Settings:
        """From a TOML file (or defaults) with the environment over it. Raises Misconfigured."""
        values: dict[str, Any] = {}
        if path is not None:
            try:
                values = tomllib.loads(path.read_text("utf-8"))
            except OSError as error:
                raise Misconfigured(
                    str(path), f"cannot be read ({error.strerror}); pass an existing --config"
                ) from None
            except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
                raise Misconfigured(str(path), f"is not valid TOML: {error}") from None
        try:
            return cls(**(values | overrides))
        except ValidationError as error:
            raise _explained(error) from None
        except SettingsError as error:  # a whole section as JSON that is none
            raise Misconfigured("environment", str(error)) from None

    @property
    def public_url(self) -> str:
        """Origin that the world uses, without a trailing slash."""
        host = "localhost" if self.service.host in ("0.0.0.0", "::") else self.service.host  # noqa: S104 - not bound here
        return (self.service.public_url or f"http://{host}:{self.service.port}").rstrip("/")

    @property
    def service_did(self) -> str:
        """DID of this service: configured, else did:web of the public host."""
        return self.feeds.service_did or self._web_did

    @property
    def serves_itself(self) -> bool:
        """Whether the labeler's DID document is the one that this service serves at its own address."""
        return self.labeler.did == self.service_did == self._web_did

    @property
    def _web_did(self) -> str:
        """did:web of the public host; a port is percent-encoded."""
        split = urlsplit(self.public_url)
        host = "localhost" if is_loopback(split.hostname or "") else split.hostname
        return f"did:web:{host}" + (f"%3A{split.port}" if split.port else "")

    @property
    def authority(self) -> str:
        """What the names of our own methods begin with: configured, else the public host reversed."""
        host = (urlsplit(self.public_url).hostname or "localhost").strip("[]")
        named = not re.fullmatch(r"[0-9.:]*", host) and "." in host
        return self.service.authority or (".".join(reversed(host.split("."))) if named else "localhost.earmark")

    @property
    def publisher_did(self) -> str:
        """DID whose repo holds the feed records."""
        return self.feeds.publisher_did or self.labeler.did or self.service_did

    @property
    def data(self) -> Path:
        """Folder of the database, the index and temporary audio."""
        return self.storage.folder or self.home / "data"

    @property
    def database(self) -> Path:
        return self.data / "earmark.db"

    def shown(self) -> dict[str, Any]:
        """All settings as plain values, secrets masked."""
        return self.model_dump(mode="json")


def _known_keys(path: tuple[str, ...]) -> list[str]:
    fields: Mapping[str, Any] = Settings.model_fields
    for part in path:
        annotation = fields[part].annotation if part in fields else None
        fields = annotation.model_fields if isinstance(annotation, type) and issubclass(annotation, BaseModel) else {}
    return list(fields)


def _explained(error: ValidationError) -> Misconfigured:
    """The first problem as key and remedy; values are never quoted (they may be secrets)."""
    problem = error.errors(include_url=False, include_input=False)[0]
    path = tuple(str(part) for part in problem["loc"])
    key = ".".join(path)
    if problem["type"] == "extra_forbidden":
        near = difflib.get_close_matches(path[-1], _known_keys(path[:-1]), n=1)
        return Misconfigured(key, "unknown setting" + (f"; did you mean {near[0]}?" if near else ""))
    message = problem["msg"].removeprefix("Value error, ")
    return Misconfigured(key, message) if key else Misconfigured(*message.split(": ", 1))
