"""The sections of the configuration: every setting with its default and what it does, in one place."""

from __future__ import annotations

import ipaddress
import json
import re
from pathlib import Path
from typing import Annotated, Literal, TypeVar
from urllib.parse import urlsplit

from pydantic import AfterValidator, BaseModel, BeforeValidator, ConfigDict, Field, SecretStr
from pydantic_settings import NoDecode

from core.analysis import PackName
from core.types import AtUri, parse_did, parse_nsid


def is_loopback(host: str) -> bool:
    """Whether this host name or address is the loopback itself."""
    if host == "localhost":
        return True
    try:
        return ipaddress.ip_address(host.strip("[]")).is_loopback
    except ValueError:
        return False


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


def _authority(value: str) -> str:
    if value:
        parse_nsid(f"{value}.getTags")
    return value


def _did_or_nothing(value: str) -> str:
    return parse_did(value) if value else value


DidOrNothing = Annotated[str, AfterValidator(_did_or_nothing)]


def _file_or_nothing(value: object) -> object:
    """An empty text would be this very folder."""
    return None if value == "" else value


File = Annotated[Path | None, BeforeValidator(_file_or_nothing)]


def _post_or_nothing(value: str) -> str:
    if value and AtUri.parse(value).collection != "app.bsky.feed.post":
        raise ValueError("write the at-uri of a post: at://did:.../app.bsky.feed.post/...")
    return value


WebAddress = Annotated[str, AfterValidator(_web_address)]
HttpsAddress = Annotated[str, AfterValidator(_https_address)]


class Section(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)


class Storage(Section):
    """Everything durable that is Earmark's own."""

    folder: File = Field(None, description="database, index and temporary audio; empty: data/ in home")


class Service(Section):
    """Where we listen and how the world sees us."""

    host: str = Field("127.0.0.1", description="address to listen on; put a TLS proxy in front of it")
    port: int = Field(8420, ge=1, le=65535, description="port to listen on")
    public_url: WebAddress = Field("", description="https address that the world uses; empty: http://host:port")
    contact: str = Field(
        "", pattern="^[ -~]*$", description="URL or mail address of the operator, sent in the User-Agent"
    )
    authority: Annotated[str, AfterValidator(_authority)] = Field(
        "", description="what the names of our own methods begin with, such as com.example; empty: public_url reversed"
    )


class Source(Section):
    """Where music records come from."""

    kind: Literal["jetstream", "relay", "tap"] = Field(
        "jetstream", description="jetstream (JSON, small), relay (signed commits, verified) or tap (a Tap of your own)"
    )
    urls: Words[str] = Field(
        (),
        description="several Jetstream hosts are tried in turn, a relay or Tap is one; empty: the public ones",
    )
    wire: Literal["v1", "v2"] = Field("v1", description="which Jetstream: v1 (/subscribe) or v2 (subscribeEvents)")
    zstd_dictionary: File = Field(
        None, description="file of Jetstream's zstd dictionary; with it the v1 stream comes compressed"
    )
    tap_password: SecretStr | None = Field(None, description="password of your Tap's admin")
    collections: Words[str] = Field(
        (),
        description="record collections to listen for; empty: all that the mapping enables; those without a mapping "
        "are searched for audio",
    )
    mapping: File = Field(None, description="how records map to tracks; empty: the built-in collections.json")
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


class Network(Section):
    """Outside services that answer questions."""

    relay_url: HttpsAddress = Field(
        "https://relay1.us-east.bsky.network", description="relay that lists repositories by collection; empty: none"
    )
    plc_url: HttpsAddress = Field("https://plc.directory", min_length=1, description="directory of did:plc documents")
    plyr_url: HttpsAddress = Field(
        "https://api.plyr.fm", min_length=1, description="answers whether a plyr.fm track is public"
    )


class Linking(Section):
    """Which posts stand for a track."""

    others: bool = Field(True, description="posts by other people may stand for a track")
    page_hosts: Words[Annotated[str, AfterValidator(_host_name)]] = Field(
        (), description="hosts whose pages may be fetched to learn which record they show (R7)"
    )
    constellation_url: HttpsAddress = Field(
        "", description="a Constellation that finds older posts for new tracks; empty: posts are found live only"
    )


class Backfill(Section):
    """Walking repositories for what was published before we listened."""

    dids: Words[Annotated[str, AfterValidator(parse_did)]] = Field(
        (), description="accounts to walk when no relay lists those that have a collection"
    )
    concurrency: int = Field(4, ge=1, le=50, description="repositories walked at once; never more than 2 a host")


class Control(Section):
    """What artists may say in their own repository."""

    optout_collections: Words[str] = Field((), description="further record types that count as an opt-out")


class Labeler(Section):
    """The identity that signs labels. Without one Earmark runs read-only: it analyses and publishes nothing."""

    did: str = Field("", description="DID of the labeler account; empty: read-only")
    key_file: File = Field(None, description="file with the private key of #atproto_label, 64 hex digits")
    key: SecretStr | None = Field(
        None, description="the same key in the environment (EARMARK_LABELER__KEY) instead of a file"
    )
    labels_per_second: float = Field(4.0, ge=0, description="emission limit (Bluesky ingests 5); 0 turns it off")
    first_setup: bool = Field(
        False, description="start although the DID document does not name our key and address yet; labels wait for it"
    )
    mirror_to_posts: Literal["none", "announcer", "own"] = Field(
        "announcer",
        description="also label posts, which is what Bluesky shows: the announcer's, those of artists that link to one "
        "track of their own too, or none",
    )


class Announcer(Section):
    """The account that posts one post a track, of artists who asked for it."""

    did: DidOrNothing = Field("", description="DID of the announcing account, never the labeler's; empty: none")
    password_file: File = Field(
        None, description="file with an app password of that account; empty: nothing is announced"
    )
    opt_in_post: Annotated[str, AfterValidator(_post_or_nothing)] = Field(
        "", description="at-uri of the account's pinned post: artists who like it are announced; needs a Constellation"
    )
    artists: Words[Annotated[str, AfterValidator(parse_did)]] = Field(
        (), description="DIDs of artists who asked you to announce their tracks"
    )
    per_day: int = Field(3, ge=1, description="posts of one artist in 24 hours; an album is one")
    quiet_hours: str = Field(
        "", pattern=r"^(([01]?\d|2[0-3])-([01]?\d|2[0-3]))?$", description="hours (UTC) without posts, such as 22-7"
    )


class Certificates(Section):
    """Signed statements of what was heard in an audio. They have a key of their own."""

    key_file: File = Field(
        None, description="file with the private key of #earmark_certificate, 64 hex digits; empty: no certificates"
    )
    key: SecretStr | None = Field(None, description="the same key in the environment (EARMARK_CERTIFICATES__KEY)")


class Reports(Section):
    """What artists and listeners tell us with com.atproto.moderation.createReport."""

    per_hour: int = Field(20, ge=1, description="reports that one account may send in an hour")
    retention_days: int = Field(180, ge=1, description="after so long the words and the sender of a report are erased")


class Limits(Section):
    """How much one client may ask."""

    requests: int = Field(3_000, ge=0, description="requests of one address in a window; 0 turns the limit off")
    window_seconds: int = Field(300, ge=1, description="length of that window")
    client_header: str = Field(
        "",
        pattern="^[A-Za-z0-9-]*$",
        description="header in which your proxy names the client's address; without it requests from this machine and "
        "from private networks are not limited",
    )


class Feeds(Section):
    """Mood feeds."""

    publisher_did: DidOrNothing = Field("", description="DID whose repo holds the feed records; empty: the labeler's")
    service_did: DidOrNothing = Field("", description="DID of this service; empty: did:web of public_url's host")
    min_posts: int = Field(15, ge=0, description="a feed opens when this many of its tracks have a usable post")
    min_tracks: int = Field(50, ge=0, description="no feed but fresh and voices opens below this many analysed tracks")
    min_seconds: float = Field(30.0, ge=0, description="shorter tracks stay out of mood feeds")
    settle_seconds: float = Field(30.0, gt=0, description="news waits this long for more before feeds are ranked anew")
    catalogue: File = Field(None, description="feed definitions; empty: the built-in ones")
    explainer: Annotated[str, AfterValidator(_post_or_nothing)] = Field(
        "", description="at-uri of the post that personal feeds pin for people of whom nothing is known; empty: none"
    )
    password_file: File = Field(
        None, description="file with an app password of publisher_did: feeds are published as they open; empty: by hand"
    )
    feedback_days: int = Field(180, ge=1, description="what viewers ask for less or more of is kept for so long")


class Listening(Section):
    """Analysis of audio."""

    packs: Words[PackName] = Field((), description="model packs: musicnn, effnet, clap; empty: all that are installed")
    pack_catalogue: File = Field(
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


class Queue(Section):
    """Jobs."""

    high_water: int = Field(5_000, gt=0, description="above this many waiting jobs no music is read off the firehose")
    max_attempts: int = Field(10, gt=0, description="tries before a job with passing trouble is given up")
    lease_seconds: float = Field(120.0, gt=0, description="a worker that is silent for this long loses its job")
    retry_seconds: float = Field(10.0, gt=0, description="first pause after passing trouble; doubles, up to an hour")


class Policy(Section):
    """What is published."""

    publish_styles: bool = Field(False, description="publish style labels from musicnn (untested) besides parents")
    thresholds: File = Field(
        None, description="thresholds of single styles as `earmark eval --fit` writes them; empty: the built-in rule"
    )


class Development(Section):
    """For test networks only."""

    allow_loopback: bool = Field(
        False, description="speak http to 127.0.0.1; refused unless we listen on loopback only"
    )


class Log(Section):
    """Logging to stderr."""

    level: Literal["debug", "info", "warning", "error"] = "info"
    format: Literal["text", "json"] = "text"
