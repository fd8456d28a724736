"""Feeds in the formats of readers and players: JSON Feed 1.1, RSS 2.0 with enclosures, M3U. Pure functions.

Every text in them is a stranger's: markup and lines are escaped, characters that a format cannot hold are left out.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from email.utils import format_datetime as format_rfc822
from xml.sax.saxutils import escape, quoteattr

import orjson

from core.clock import format_datetime
from core.feed import FeedEntry
from earmark.showing import ShownTrack

_CONTROL = re.compile("[\x00-\x1f\x7f-\x9f\u2028\u2029\ud800-\udfff\ufffe\uffff]+")  # not in XML 1.0, or a line's end
_MIME = re.compile(r"(?:audio|video|application)/[a-z0-9][a-z0-9.+-]{0,60}")
_ANY_AUDIO = "audio/mpeg"  # where the record claims nothing that is a type: enclosures need one


@dataclass(frozen=True, slots=True)
class Channel:
    """A feed as it is told to readers: `url` is where this very document lies, `home` a page for people."""

    title: str
    description: str
    url: str
    home: str


Row = tuple[FeedEntry, ShownTrack]


def to_json_feed(channel: Channel, rows: Sequence[Row]) -> bytes:
    """JSON Feed 1.1; what it has no member for is under `_earmark`."""
    return orjson.dumps(
        {
            "version": "https://jsonfeed.org/version/1.1",
            "title": channel.title,
            "description": channel.description,
            "home_page_url": channel.home,
            "feed_url": channel.url,
            "items": [_to_item(entry, track) for entry, track in rows],
        }
    )


def to_rss(channel: Channel, rows: Sequence[Row]) -> bytes:
    """RSS 2.0; what may be listened to has an enclosure at its artist's own address."""
    items = "".join(_to_rss_item(track) for _, track in rows)
    text = (
        '<?xml version="1.0" encoding="UTF-8"?>\n<rss version="2.0" xmlns:atom="http://www.w3.org/2005/Atom"><channel>'
        f"{_tag('title', channel.title)}{_tag('link', channel.home)}{_tag('description', channel.description)}"
        f'<atom:link href={quoteattr(to_line(channel.url))} rel="self" type="application/rss+xml"/>'
        f"{items}</channel></rss>\n"
    )
    return text.encode()


def to_m3u(channel: Channel, rows: Sequence[Row]) -> bytes:
    """Extended M3U in UTF-8 of what may be listened to."""
    lines = ["#EXTM3U", f"#PLAYLIST:{to_line(channel.title)}"]
    for _, track in rows:
        if track.audio_url is not None:
            seconds = -1 if track.duration_ms is None else round(track.duration_ms / 1000)
            lines += [f"#EXTINF:{seconds},{to_line(_name(track))}", track.audio_url]
    return ("\n".join(lines) + "\n").encode()


def _to_item(entry: FeedEntry, track: ShownTrack) -> dict[str, object]:
    title = to_line(_name(track))
    item: dict[str, object] = {
        "id": track.uri,
        "title": title,
        "content_text": title,
        "date_published": format_datetime(track.published_us),
        "_earmark": {"reason": entry.reason.value, "score": round(entry.score, 6), "post": track.post_uri},
    }
    if track.artist:
        item["authors"] = [{"name": to_line(track.artist)}]
    if track.address is not None:
        item["url"] = track.address
    if track.audio_url is not None:
        attachment: dict[str, object] = {"url": track.audio_url, "mime_type": _mime(track)}
        if track.audio_bytes is not None:
            attachment["size_in_bytes"] = track.audio_bytes
        if track.duration_ms is not None:
            attachment["duration_in_seconds"] = round(track.duration_ms / 1000)
        item["attachments"] = [attachment]
    return item


def _to_rss_item(track: ShownTrack) -> str:
    published = datetime.fromtimestamp(track.published_us / 1_000_000, UTC)
    parts = [
        _tag("title", _name(track)),
        f'<guid isPermaLink="false">{escape(track.uri)}</guid>',
        f"<pubDate>{format_rfc822(published, usegmt=True)}</pubDate>",
    ]
    if track.address is not None:
        parts.append(_tag("link", track.address))
    if track.audio_url is not None:
        parts.append(
            f'<enclosure url={quoteattr(track.audio_url)} length="{max(0, track.audio_bytes or 0)}" '
            f"type={quoteattr(_mime(track))}/>"
        )
    return f"<item>{''.join(parts)}</item>"


def _tag(name: str, text: str) -> str:
    return f"<{name}>{escape(to_line(text))}</{name}>"


def to_line(text: str) -> str:
    """A stranger's text on one line, of characters that every format can hold."""
    return _CONTROL.sub(" ", text).strip()


def _name(track: ShownTrack) -> str:
    return f"{track.artist} - {track.title}" if track.artist else track.title


def _mime(track: ShownTrack) -> str:
    return track.audio_mime if _MIME.fullmatch(track.audio_mime) else _ANY_AUDIO
