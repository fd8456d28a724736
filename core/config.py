"""Every setting in one declarative model: TOML file, environment over it (ARCHITECTURE section 7).

`EARMARK_SECTION__KEY=value` in the environment overrides `key` in `[section]`; `EARMARK_HOME` is the home folder.
Units are in the names. Secrets come from a file or the environment and are masked wherever settings are shown.
"""

from __future__ import annotations

import difflib
import ipaddress
import json
import re
import tomllib
from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Any, Literal, Self, TypeVar
from urllib.parse import urlsplit

from pydantic import (
    AfterValidator,
    BaseModel,
    BeforeValidator,
    ConfigDict,
    Field,
    SecretStr,
    ValidationError,
    model_validator,
)
from pydantic_settings import BaseSettings, NoDecode, PydanticBaseSettingsSource, SettingsConfigDict, SettingsError

from core.analysis import PackName
from core.errors import Misconfigured
from core.home import default_home
from core.types import parse_did


def _split(value: object) -> object:
    """Lists may be written `a, b`, which is how the environment has them; a JSON list is read too."""
    if not isinstance(value, str):
        return value
    text = value.strip()
    if text.startswith("["):
        try:
            return json.loads(text)
        except ValueError:
            raise ValueError("is no list: write a,b or a JSON list") from None
    return [word.strip() for word in text.split(",") if word.strip()]


_Word = TypeVar("_Word")
Words = Annotated[tuple[_Word, ...], NoDecode, BeforeValidator(_split)]


def _web_address(value: str) -> str:
    """An address that nobody can call must stop us at the start; later it would look like trouble of the network."""
    parsed = urlsplit(value)
    if value and (parsed.scheme not in ("http", "https") or not parsed.hostname or parsed.port == 0):
        raise ValueError("write an address such as https://host.example")
    return value.rstrip("/")


def _https_address(value: str) -> str:
    value = _web_address(value)
    parsed = urlsplit(value)
    if parsed.scheme == "http" and not is_loopback(parsed.hostname or ""):
        raise ValueError("must be https:// (http:// only to loopback, with development.allow_loopback)")
    return value


def _host_name(value: str) -> str:
    if not re.fullmatch(r"[a-z0-9-]+(\.[a-z0-9-]+)+", value.lower()):
        raise ValueError("write a host's name, such as music.example")
    return value.lower()


WebAddress = Annotated[str, AfterValidator(_web_address)]
HttpsAddress = Annotated[str, AfterValidator(_https_address)]


class _Section(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)


class Storage(_Section):
    """Everything durable that is Earmark's own."""

    folder: Path | None = Field(None, description="database, index and temporary audio; empty: data/ in home")


class Service(_Section):
    """Where we listen and how the world sees us."""

    host: str = Field("127.0.0.1", description="address to listen on; put a TLS proxy in front of it")
    port: int = Field(8420, ge=1, le=65535, description="port to listen on")
    public_url: WebAddress = Field("", description="https address that the world uses; empty: http://host:port")
    contact: str = Field(
        "", pattern="^[ -~]*$", description="URL or mail address of the operator, sent in the User-Agent"
    )


class Source(_Section):
    """Where music records come from."""

    kind: Literal["jetstream", "relay", "tap"] = Field(
        "jetstream", description="jetstream (JSON, small), relay (signed commits, verified) or tap (a Tap of your own)"
    )
    urls: Words[str] = Field(
        (),
        description="several Jetstream hosts are tried in turn, a relay or Tap is one; empty: the public ones",
    )
    wire: Literal["v1", "v2"] = Field("v1", description="which Jetstream: v1 (/subscribe) or v2 (subscribeEvents)")
    zstd_dictionary: Path | None = Field(
        None, description="file of Jetstream's zstd dictionary; with it the v1 stream comes compressed"
    )
    tap_password: SecretStr | None = Field(None, description="password of your Tap's admin")
    collections: Words[str] = Field(
        (),
        description="record collections to listen for; empty: all that the mapping enables; those without a mapping "
        "are searched for audio",
    )
    mapping: Path | None = Field(None, description="how records map to tracks; empty: the built-in collections.json")
    begin: Literal["live", "oldest"] = Field(
        "live",
        description="where the first run begins: with what happens from now on, or with all the source still has",
    )
    future_cursor: Literal["wait", "live"] = Field(
        "wait",
        description="when a relay does not know our cursor yet: keep asking and raise an alarm, or go on from now and "
        "fetch what was missed",
    )
    direct: bool = Field(
        False, description="the relay is really a PDS: only what it says of accounts that live there counts"
    )
    posts: bool = Field(True, description="also read Bluesky posts for links to tracks; mood feeds need them")
    likes: bool = Field(
        False, description="count likes and reposts of linked posts; reads every like of the network to find them"
    )


class Network(_Section):
    """Outside services that answer questions."""

    relay_url: HttpsAddress = Field(
        "https://relay1.us-east.bsky.network", description="relay that lists repositories by collection; empty: none"
    )
    plc_url: HttpsAddress = Field("https://plc.directory", min_length=1, description="directory of did:plc documents")
    plyr_url: HttpsAddress = Field(
        "https://api.plyr.fm", min_length=1, description="answers whether a plyr.fm track is public"
    )


class Linking(_Section):
    """Which posts stand for a track."""

    others: bool = Field(True, description="posts by other people may stand for a track")
    page_hosts: Words[Annotated[str, AfterValidator(_host_name)]] = Field(
        (), description="hosts whose pages may be fetched to learn which record they show (R7)"
    )
    constellation_url: HttpsAddress = Field(
        "", description="a Constellation that finds older posts for new tracks; empty: posts are found live only"
    )


class Backfill(_Section):
    """Walking repositories for what was published before we listened."""

    dids: Words[Annotated[str, AfterValidator(parse_did)]] = Field(
        (), description="accounts to walk when no relay lists those that have a collection"
    )
    concurrency: int = Field(4, ge=1, le=50, description="repositories walked at once; never more than 2 a host")


class Control(_Section):
    """What artists may say in their own repository."""

    optout_collections: Words[str] = Field((), description="further record types that count as an opt-out")


class Labeler(_Section):
    """The identity that signs labels. Without one Earmark runs read-only: it analyses and publishes nothing."""

    did: str = Field("", description="DID of the labeler account; empty: read-only")
    key_file: Path | None = Field(None, description="file with the private key of #atproto_label, 64 hex digits")
    key: SecretStr | None = Field(
        None, description="the same key in the environment (EARMARK_LABELER__KEY) instead of a file"
    )
    labels_per_second: float = Field(4.0, ge=0, description="emission limit (Bluesky ingests 5); 0 turns it off")


class Feeds(_Section):
    """Mood feeds."""

    publisher_did: str = Field("", description="DID whose repo holds the feed records; empty: the labeler's")
    service_did: str = Field("", description="DID of this service; empty: did:web of public_url's host")
    min_posts: int = Field(15, ge=0, description="a mood feed opens when this many tracks have a usable post")
    min_tracks: int = Field(50, ge=0, description="no mood feed opens below this many analysed tracks")
    min_seconds: float = Field(30.0, ge=0, description="shorter tracks stay out of mood feeds")
    settle_seconds: float = Field(30.0, gt=0, description="news waits this long for more before feeds are ranked anew")
    catalogue: Path | None = Field(None, description="feed definitions; empty: the built-in ones")


class Listening(_Section):
    """Analysis of audio."""

    packs: Words[PackName] = Field((), description="model packs: musicnn, effnet, clap; empty: all that are installed")
    pack_catalogue: Path | None = Field(
        None, description="declarations of the packs' files, sizes and hashes; empty: the built-in ones"
    )
    children: int = Field(0, ge=0, le=256, description="listening processes; 0: one a core")
    deadline_seconds: float = Field(
        180.0, gt=0, description="one analysis may take this long, then its process is killed"
    )
    max_seconds: float = Field(10_800.0, gt=0, description="longer audio is refused")
    max_bytes: int = Field(209_715_200, gt=0, description="larger blobs are refused")
    fetch_seconds: float = Field(300.0, gt=0, description="a download may take this long")
    reanalyse_share: float = Field(
        0.5, ge=0, le=1, description="part of one listening process's time for moving to other packs; 0: not now"
    )


class Queue(_Section):
    """Jobs."""

    high_water: int = Field(5_000, gt=0, description="above this many waiting jobs no music is read off the firehose")
    max_attempts: int = Field(10, gt=0, description="tries before a job with passing trouble is given up")
    lease_seconds: float = Field(120.0, gt=0, description="a worker that is silent for this long loses its job")
    retry_seconds: float = Field(10.0, gt=0, description="first pause after passing trouble; doubles, up to an hour")


class Policy(_Section):
    """What is published."""

    publish_styles: bool = Field(False, description="publish style labels from musicnn (untested) besides parents")


class Development(_Section):
    """For test networks only."""

    allow_loopback: bool = Field(
        False, description="speak http to 127.0.0.1; refused unless we listen on loopback only"
    )


class Log(_Section):
    """Logging to stderr."""

    level: Literal["debug", "info", "warning", "error"] = "info"
    format: Literal["text", "json"] = "text"


class Settings(BaseSettings):
    """The whole configuration. `load` reads it; unknown keys are refused with the nearest name."""

    model_config = SettingsConfigDict(
        env_prefix="EARMARK_", env_nested_delimiter="__", extra="forbid", frozen=True, env_ignore_empty=True
    )

    home: Path = Field(default_factory=default_home, description="model packs, and by default the data")
    storage: Storage = Storage()
    service: Service = Service()
    source: Source = Source()
    network: Network = Network()
    linking: Linking = Linking()
    backfill: Backfill = Backfill()
    control: Control = Control()
    labeler: Labeler = Labeler()
    feeds: Feeds = Feeds()
    listening: Listening = Listening()
    queue: Queue = Queue()
    policy: Policy = Policy()
    development: Development = Development()
    log: Log = Log()

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
        """DID of this service: configured, else did:web of the public host (a port is percent-encoded)."""
        if self.feeds.service_did:
            return self.feeds.service_did
        split = urlsplit(self.public_url)
        host = "localhost" if is_loopback(split.hostname or "") else split.hostname
        return f"did:web:{host}" + (f"%3A{split.port}" if split.port else "")

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


def is_loopback(host: str) -> bool:
    """Whether this host name or address is the loopback itself."""
    if host == "localhost":
        return True
    try:
        return ipaddress.ip_address(host.strip("[]")).is_loopback
    except ValueError:
        return False


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
