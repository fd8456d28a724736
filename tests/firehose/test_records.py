"""Music records to tracks: the packaged mapping, gates, sources, dates, nonsense (LEXICONS section 5, P179-P185)."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from core.errors import BadRecord, Held, Misconfigured, NoAudio
from core.types import AtUri, Cid, Tid, Track, make_tid
from firehose.records import CollectionMap, bare_track, clean_text, find_values, load_mapping, page_hosts, read_track

NOW_US = 1_750_000_000_000_000
CID = "bafkreihdwdcefgh4dqkjv67uzcmw7ojee6xedzdetojuzjevtenxquvyku"
RECORD_CID = Cid("bafyreie5cvv4h45feadgeuwhbcutmh6t2ceseocckahdoe6uat64zmz454")
BLOB = {"$type": "blob", "ref": {"$link": CID}, "mimeType": "audio/mpeg", "size": 1000}
MAPPING = load_mapping()
RKEY = make_tid(1_700_000_000_000_000)


def read(collection: str, record: Any, rkey: str = RKEY) -> Track:
    uri = AtUri.parse(f"at://did:plc:artist222222222222222222/{collection}/{rkey}")
    return read_track(MAPPING[collection], uri, RECORD_CID, Tid(RKEY), record, now_us=NOW_US)


def plyr(**fields: Any) -> dict[str, Any]:
    record = {
        "$type": "fm.plyr.track",
        "title": "T",
        "artist": "A",
        "createdAt": "2024-01-01T00:00:00Z",
        "audioBlob": BLOB,
    }
    return {name: value for name, value in (record | fields).items() if value is not ...}


SAMPLES: dict[str, tuple[dict[str, Any], dict[str, Any]]] = {
    "fm.plyr.track": (
        plyr(album="2026", duration=265, features=[{"did": "did:web:friend.example.com"}, {"did": "nobody"}]),
        {
            "title": "T",
            "artist": "A",
            "album": "2026",
            "duration_ms": 265_000,
            "credits": ("did:web:friend.example.com",),
            "visibility_check": "plyr",
        },
    ),
    "app.musicsky.temp.song": (
        {"title": "S", "audio": BLOB, "duration": 212, "tags": ["idm"], "genre": "electronic", "createdAt": "x"},
        {"artist": None, "author_tags": ("idm", "electronic"), "created_us": 1_700_000_000_000_000},
    ),
    "sh.comet.v0.feed.track": (
        {"title": "C", "audio": BLOB, "explicit": True, "tags": ["ambient"], "createdAt": "2025-01-01T00:00:00Z"},
        {"explicit": True, "author_tags": ("ambient",), "created_us": 1_735_689_600_000_000},
    ),
    "cloud.soundsky.audio": (
        {"text": "caption", "audio": BLOB, "metadata": {"artist": "M", "genre": "Techno", "tags": ["a", "b"]}},
        {"title": "caption", "artist": "M", "author_tags": ("a", "b", "Techno")},
    ),
    "so.sprk.sound.audio": (
        {"sound": BLOB, "title": "original sound", "details": {"artist": "D", "title": "Real"}},
        {"title": "Real", "artist": "D", "role": "sound"},
    ),
    "audio.ooo.track": (
        {"uri": "https://audio.plyr.fm/audio/x.wav", "mimeType": "audio/wav", "title": "O", "duration": 2500},
        {"duration_ms": 2500, "audio_url": "https://audio.plyr.fm/audio/x.wav", "blob": None},
    ),
    "ch.indiemusi.alpha.recording": (
        {"audioFile": BLOB, "title": "I", "artists": [{"name": "N1", "did": "did:web:n1.example.com"}, {"name": "N2"}]},
        {"artist": "N1", "credits": ("did:web:n1.example.com",), "created_us": 1_700_000_000_000_000},
    ),
}


@pytest.mark.parametrize("collection", SAMPLES)
def test_every_enabled_collection_maps(collection: str) -> None:
    record, expected = SAMPLES[collection]
    track = read(collection, record)
    assert {name: getattr(track, name) for name in expected} == expected
    assert track.audio_key


def test_the_samples_cover_what_is_enabled() -> None:
    assert set(SAMPLES) == set(MAPPING)


def test_every_path_of_the_mapping_is_in_its_lexicon(shared_data: Path) -> None:
    """But for plyr's pass-through fields on `audio.ooo.track` (LEXICONS, head)."""
    for name, entry in MAPPING.items():
        lexicon = json.loads((shared_data / "lexicons" / f"{name}.json").read_text())
        known = set(lexicon["defs"]["main"]["record"]["properties"])
        paths = (entry.blob, entry.url, entry.title, entry.artist, entry.album, entry.duration, entry.created)
        paths += (entry.author_tags, entry.credits, entry.explicit, entry.hold_until, *entry.skip_if)
        heads = {
            part.split(".")[0].removesuffix("[]")
            for path in paths
            for part in (path or "").replace("+", "|").split("|")
            if part and not part.startswith("@")
        }
        extensions = {"artist", "album", "supportGate"} if name == "audio.ooo.track" else set()
        assert heads - known - extensions - {"createdAt"} == set(), name


@pytest.mark.parametrize("gate", [{"type": "any"}, {"type": "copyright"}, {"type": "new"}, {}, None, False, "x"])
def test_any_gate_is_closed_and_leaves_nothing_to_fetch(gate: Any) -> None:
    track = read("fm.plyr.track", plyr(supportGate=gate, audioUrl="https://audio.plyr.fm/a.mp3"))
    assert track.gated
    assert track.audio_key is None


def test_the_blob_wins_over_the_url() -> None:
    track = read("fm.plyr.track", plyr(audioUrl="https://audio.plyr.fm/a.mp3"))
    assert (track.audio_url, track.blob.cid, track.blob.size) == (None, CID, 1000)


@pytest.mark.parametrize(
    "url",
    [
        "http://audio.plyr.fm/a.mp3",
        "https://audio.plyr.fm.example.com/a.mp3",
        "https://plyr.fm/a.mp3",
        "https://audio.plyr.fm@169.254.169.254/a.mp3",
        "https://audio.plyr.fm:8443/a.mp3",
        "https://AUDIO.plyr.fm\\@evil.com/",
        "file:///etc/passwd",
        "https://169.254.169.254/latest",
        "",
        7,
        {"url": "x"},
    ],
)
def test_P191_a_url_elsewhere_is_no_audio(url: Any) -> None:
    with pytest.raises(NoAudio):
        read("fm.plyr.track", plyr(audioBlob=..., audioUrl=url))


def test_a_url_on_the_list_is_taken_when_the_blob_is_missing() -> None:
    track = read("fm.plyr.track", plyr(audioBlob=..., audioUrl="https://audio.plyr.fm/audio/abc.wav"))
    assert track.audio_key == "url:https://audio.plyr.fm/audio/abc.wav"


@pytest.mark.parametrize(
    "blob",
    [
        {"$type": "blob", "ref": {"$link": CID}, "mimeType": "audio/mpeg"},
        {"$type": "blob", "ref": {"$link": CID}, "mimeType": "audio/mpeg", "size": 0},
        {"$type": "blob", "ref": {"$link": CID}, "mimeType": "audio/mpeg", "size": True},
        {"$type": "blob", "ref": {"$link": RECORD_CID}, "mimeType": "audio/mpeg", "size": 5},
        {"$type": "blob", "ref": {"$link": "QmYtUc4iTCbbfVSDNKvtQqrfyezPPnFvE33wFmutw9PBBk"}, "size": 5},
        {"$type": "blob", "ref": CID, "size": 5},
        {"$type": "blob", "cid": CID, "mimeType": "audio/mpeg"},
        [BLOB],
        CID,
    ],
)
def test_P182_P184_blob_references_that_cannot_be_verified_are_no_audio(blob: Any) -> None:
    with pytest.raises(NoAudio):
        read("fm.plyr.track", plyr(audioBlob=blob))


def test_P185_the_legacy_blob_form_is_read() -> None:
    blob = read("fm.plyr.track", plyr(audioBlob={"cid": CID, "mimeType": "audio/mpeg"})).blob
    assert (blob.cid, blob.mime, blob.size) == (CID, "audio/mpeg", None)


@pytest.mark.parametrize("record", [None, [], "text", 5, plyr(**{"$type": "fm.plyr.like"})])
def test_what_is_no_record_of_the_collection_is_refused(record: Any) -> None:
    with pytest.raises(BadRecord):
        read("fm.plyr.track", record)


@pytest.mark.parametrize(
    ("created", "expected"),
    [
        ("2024-01-01T00:00:00+01:00", 1_704_063_600_000_000),
        ("2999-01-01T00:00:00Z", NOW_US),
        ("1950-01-01T00:00:00Z", 0),
        ("soon", 1_700_000_000_000_000),
        (12, 1_700_000_000_000_000),
        (..., 1_700_000_000_000_000),
    ],
)
def test_P178_creation_times(created: Any, expected: int) -> None:
    assert read("fm.plyr.track", plyr(createdAt=created)).created_us == expected


def test_without_any_time_a_record_is_of_now() -> None:
    assert read("fm.plyr.track", plyr(createdAt="soon"), rkey="self").created_us == NOW_US


@pytest.mark.parametrize(
    ("duration", "expected"), [(-1, None), (0, None), (True, None), ("9", None), (1e300, None), (1.5, 1500)]
)
def test_durations(duration: Any, expected: int | None) -> None:
    assert read("fm.plyr.track", plyr(duration=duration)).duration_ms == expected


def test_self_labels_and_texts_are_cleaned_and_bounded() -> None:
    labels = {
        "$type": "com.atproto.label.defs#selfLabels",
        "values": [{"val": "porn"}, {"val": 5}, "x", {"val": "new"}],
    }
    track = read("fm.plyr.track", plyr(labels=labels, title=" a\x00b\u202e\n" + "x" * 5000, artist=["no"]))
    assert track.self_labels == ("porn", "new")
    assert track.title.startswith("a b")
    assert len(track.title) == 1000
    assert track.artist is None


def test_a_refused_record_keeps_its_title_and_nothing_to_fetch() -> None:
    uri = AtUri.parse(f"at://did:plc:artist222222222222222222/fm.plyr.track/{RKEY}")
    for record, title in ((plyr(audioBlob=...), "T"), (None, ""), ({"title": 5}, "")):
        track = bare_track(MAPPING["fm.plyr.track"], uri, RECORD_CID, Tid(RKEY), record, now_us=NOW_US)
        assert (track.title, track.audio_key) == (title, None)


def test_paths() -> None:
    record = {"a": [{"b": 1}, {"b": 2}, 5], "c": {"d": [3]}}
    assert find_values(record, "a[].b") == [1, 2]
    assert find_values(record, "c.d") == [[3]]
    assert find_values(record, "c.x.y") == []


def test_an_unknown_collection_is_a_configuration_error() -> None:
    with pytest.raises(Misconfigured, match=r"fm\.plyr\.dev\.track"):
        load_mapping(only=frozenset({"fm.plyr.dev.track"}))
    assert set(load_mapping(only=frozenset({"fm.plyr.track"}))) == {"fm.plyr.track"}


def test_the_hosts_of_track_pages() -> None:
    assert page_hosts(MAPPING) == {"plyr.fm", "soundsky.cloud"}


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=40),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=8), inner, max_size=4),
    max_leaves=15,
)
FIELDS = sorted({field for record, _ in SAMPLES.values() for field in record} | {"labels", "supportGate", "audioUrl"})
INNER = st.dictionaries(
    st.sampled_from(["ref", "$link", "cid", "size", "mimeType", "val", "values", "did", "name"]), JSON
)


@given(st.sampled_from(sorted(MAPPING)), JSON | st.dictionaries(st.sampled_from(FIELDS), JSON | INNER))
def test_any_json_is_a_track_or_a_typed_refusal(collection: str, record: Any) -> None:
    try:
        track = read(collection, record)
    except BadRecord:
        return
    assert track.gated or track.audio_key
    assert 0 <= track.created_us <= NOW_US
    track.title.encode()


@given(st.text(st.characters(), max_size=3000))
def test_clean_text_is_one_encodable_bounded_line(text: str) -> None:
    cleaned = clean_text(text)
    cleaned.encode()
    assert len(cleaned) <= 1000
    assert not set(cleaned) & set("\n\r\x00\u202e")


def test_a_mapping_is_a_value() -> None:
    assert CollectionMap("a.b.c") == CollectionMap("a.b.c")


@pytest.mark.parametrize(
    ("released", "held"),
    [("2024-01-01T00:00:00Z", False), (None, False), ("2099-01-01T00:00:00Z", True), ("soon", True), (7, True)],
)
def test_a_track_is_held_until_its_release(released: Any, held: bool) -> None:
    audio = {"$type": "blob", "ref": {"$link": CID}, "mimeType": "audio/ogg", "size": 1000}
    record = {"title": "T", "audio": audio, "createdAt": "2024-01-01T00:00:00Z"}
    record |= {} if released is None else {"releasedAt": released}
    if held:
        with pytest.raises(Held):
            read("sh.comet.v0.feed.track", record)
    else:
        assert read("sh.comet.v0.feed.track", record).blob is not None
