"""Documents for readers and players hold whatever strangers call their tracks."""

from __future__ import annotations

from email.utils import parsedate_to_datetime
from xml.etree import ElementTree as ET

import orjson
from hypothesis import given
from hypothesis import strategies as st

from core.feed import FeedEntry
from earmark.formats import Channel, Row, to_json_feed, to_m3u, to_rss
from earmark.showing import ShownTrack

URI = "at://did:plc:aaaaaaaaaaaaaaaaaaaaaaaa/fm.plyr.track/t"
POST = "at://did:plc:aaaaaaaaaaaaaaaaaaaaaaaa/app.bsky.feed.post/p"
AUDIO = "https://pds.example.com/xrpc/com.atproto.sync.getBlob?did=did%3Aplc%3Aa&cid=bafy"
CHANNEL = Channel("Calm & <Quiet>", "Soft.", "https://music.example.com/feeds/calm.rss", "https://music.example.com/")
texts = st.text(st.characters(), max_size=60) | st.sampled_from(
    ["]]><script>", "a\n#EXTINF:1,b\nhttps://evil.example.com", "&amp;", "\x00\x0b\ufffe", '"><enclosure url="x"/>']
)


def row(title: str, artist: str | None = None, mime: str = "audio/mpeg", audio: str | None = AUDIO) -> Row:
    track = ShownTrack(URI, title, artist, None, 61_500, 1_700_000_000_000_000, None, POST, audio, mime, 10)
    return FeedEntry(URI, None, 0.5), track


@given(title=texts, artist=texts | st.none(), mime=texts)
def test_whatever_a_track_is_called_the_document_stays_one(title: str, artist: str | None, mime: str) -> None:
    rows = [row(title, artist, mime), row("Second")]
    channel = ET.fromstring(to_rss(CHANNEL, rows))[0]
    assert channel.findtext("title") == CHANNEL.title
    items = channel.findall("item")
    assert [item.findtext("guid") for item in items] == [URI, URI]
    assert [len(item.findall("enclosure")) for item in items] == [1, 1]
    assert items[1].findtext("title") == "Second"
    assert {enclosure.attrib["url"] for enclosure in channel.iter("enclosure")} == {AUDIO}

    told = orjson.loads(to_json_feed(CHANNEL, rows))
    assert [len(item["attachments"]) for item in told["items"]] == [1, 1]

    lines = to_m3u(CHANNEL, rows).decode().split("\n")
    assert len(lines) == 7
    assert lines[3] == lines[5] == AUDIO
    assert lines[2].startswith("#EXTINF:62,") or lines[2].startswith("#EXTINF:61,")


def test_what_may_not_be_listened_to_is_listed_without_an_enclosure() -> None:
    rows = [row("Silent", audio=None)]
    assert b"enclosure" not in to_rss(CHANNEL, rows)
    (item,) = orjson.loads(to_json_feed(CHANNEL, rows))["items"]
    assert "attachments" not in item
    assert item["url"] == "https://bsky.app/profile/did:plc:aaaaaaaaaaaaaaaaaaaaaaaa/post/p"
    assert to_m3u(CHANNEL, rows).decode().splitlines() == ["#EXTM3U", "#PLAYLIST:Calm & <Quiet>"]


def test_rss_and_json_feed_say_what_readers_need() -> None:
    (item,) = ET.fromstring(to_rss(CHANNEL, [row("Song", "Ann")]))[0].findall("item")
    assert item.findtext("title") == "Ann - Song"
    published = parsedate_to_datetime(item.findtext("pubDate") or "")
    assert published.timestamp() == 1_700_000_000
    told = orjson.loads(to_json_feed(CHANNEL, [row("Song", "Ann")]))
    assert told["version"] == "https://jsonfeed.org/version/1.1"
    (entry,) = told["items"]
    assert (entry["id"], entry["authors"], entry["date_published"]) == (
        URI,
        [{"name": "Ann"}],
        "2023-11-14T22:13:20.000Z",
    )
    (attachment,) = entry["attachments"]
    assert attachment == {"url": AUDIO, "mime_type": "audio/mpeg", "size_in_bytes": 10, "duration_in_seconds": 62}
