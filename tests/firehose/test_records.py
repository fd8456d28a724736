"""Music records to tracks: the packaged mapping, gates, sources, dates, nonsense (LEXICONS section 5, P179-P185)."""

from __future__ import annotations

import contextlib
import json
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

import firehose
from core.errors import BadRecord, BlobTooLarge, Held, Misconfigured, NoAudio, Permanent
from core.types import AtUri, Cid, Tid, Track, make_tid
from firehose.mapping import CollectionMap, load_mapping, page_hosts
from firehose.records import bare_track, clean_text, find_values, read_track
from firehose.unmapped import find_unmapped

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


def lexicon_paths(lexicons: Path, name: str, owner: Any, properties: dict[str, Any], above: str = "") -> set[str]:
    """Every path that a lexicon's record has, `[]` for the members of arrays; `*` for what a union holds."""
    found = set()
    for field, schema in properties.items():
        path, inner = above + field, schema
        found.add(path)
        if schema["type"] == "array":
            path, inner = path + "[]", schema["items"]
            found.add(path)
        if inner["type"] == "ref":
            target, _, part = inner["ref"].partition("#")
            file = lexicons / f"{target or name}.json"
            if file.exists():
                definitions = json.loads(file.read_text())["defs"] if target else owner
                inner = definitions[part or "main"]
        found |= lexicon_paths(lexicons, name, owner, inner.get("properties", {}), f"{path}.")
        if inner["type"] == "union":
            found.add(f"{path}.*")
    return found


def test_every_path_of_the_mapping_is_in_its_lexicon(shared_data: Path) -> None:
    """Those that are noted as well, and of collections that are off; but for plyr's pass-through fields on
    `audio.ooo.track` (LEXICONS, head), and for names that every mapping has by default.
    """
    names = frozenset(json.loads((Path(firehose.__file__).parent / "collections.json").read_text())["collections"])
    extensions = {"audio.ooo.track": {"artist", "album", "supportGate"}}
    for name, entry in load_mapping(only=names).items():
        definitions = json.loads((shared_data / "lexicons" / f"{name}.json").read_text())["defs"]
        properties = definitions["main"]["record"]["properties"]
        known = lexicon_paths(shared_data / "lexicons", name, definitions, properties)
        missing = {path for path in entry.paths() if path not in known and path.split(".")[0] + ".*" not in known}
        assert missing - extensions.get(name, set()) - {"createdAt", "labels.values[].val"} == set(), name


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


@pytest.mark.parametrize(
    "name",
    [
        "fm.plyr.stg.track",
        "fm.plyr.privateMedia",
        "ch.indiemusi.alpha.audioFile",
        "app.bsky.feed.post",
        "fm.plyr.*",
        "song",
        "",
    ],
)
def test_some_collections_are_never_listened_to(name: str) -> None:
    with pytest.raises(Misconfigured):
        load_mapping(only=frozenset({name}))


@pytest.mark.parametrize(
    "text",
    [
        "not json",
        "[]",
        "{}",
        '{"collections": {"a.b.c": []}}',
        '{"collections": {"a.b.c": {"title": 5}}}',
        '{"collections": {"a.b.c": {"titel": "t"}}}',
        '{"collections": {"a.b.c": {"walk": true}}}',
        '{"collections": {"a.b.c": {"role": "symphony"}}}',
        '{"collections": {"a.b.c": {"page_url": "https://x/{nobody}"}}}',
        '{"collections": {"no name": {}}}',
        '{"collections": {"fm.plyr.dev.track": {}}, "never": {"fm.plyr.dev.*": "x"}}',
    ],
)
def test_a_mapping_that_makes_no_sense_is_a_configuration_error(tmp_path: Path, text: str) -> None:
    (tmp_path / "mapping.json").write_text(text)
    with pytest.raises(Misconfigured):
        load_mapping(tmp_path / "mapping.json")
    with pytest.raises(Misconfigured):
        load_mapping(tmp_path / "nowhere.json")


def test_an_operators_own_mapping(tmp_path: Path) -> None:
    text = '{"collections": {"com.example.song": {"blob": "a.b", "title": "t", "max_bytes": 999}}}'
    (tmp_path / "mapping.json").write_text(text)
    mapping = load_mapping(tmp_path / "mapping.json")["com.example.song"]
    uri = AtUri.parse(f"at://did:plc:artist222222222222222222/com.example.song/{RKEY}")
    with pytest.raises(BlobTooLarge):
        read_track(mapping, uri, RECORD_CID, Tid(RKEY), {"a": {"b": BLOB}}, now_us=NOW_US)
    smaller = {"a": {"b": BLOB | {"size": 999}}, "t": "T"}
    assert read_track(mapping, uri, RECORD_CID, Tid(RKEY), smaller, now_us=NOW_US).title == "T"


def walked(record: Any) -> Track:
    mapping = load_mapping(only=frozenset({"com.example.song"}))["com.example.song"]
    uri = AtUri.parse(f"at://did:plc:artist222222222222222222/com.example.song/{RKEY}")
    return read_track(mapping, uri, RECORD_CID, Tid(RKEY), record, now_us=NOW_US)


def test_a_collection_that_nobody_mapped_is_searched_for_audio() -> None:
    cover = BLOB | {"mimeType": "image/png"}
    other = "bafkreie5cvv4h45feadgeuwhbcutmh6t2ceseocckahdoe6uat64zmz454"
    ogg = BLOB | {"mimeType": "application/ogg", "ref": {"$link": other}}
    track = walked({"cover": cover, "x": [{"y": {"z": ogg}}], "late": BLOB, "name": "N", "publishedAt": "2024-01-01"})
    assert (track.title, track.artist, track.blob.cid, track.created_us) == ("N", None, other, 1_700_000_000_000_000)
    assert walked({"audio": BLOB, "publishedAt": "2024-01-01T00:00:00Z"}).created_us == 1_704_067_200_000_000


@pytest.mark.parametrize(
    "record",
    [
        {},
        {"a": {"b": {"c": {"d": {"e": {"f": {"g": BLOB}}}}}}},  # seven levels down
        {"covers": [BLOB | {"mimeType": "image/png"}] * 4, "audio": BLOB},  # the fifth blob
        {"video": BLOB | {"mimeType": "video/mp4"}},
        {"audio": {key: value for key, value in BLOB.items() if key != "$type"}},
        {"many": [{"x": 1}] * 5000, "audio": BLOB},
    ],
)
def test_the_search_is_bounded_and_takes_audio_only(record: Any) -> None:
    with pytest.raises(NoAudio):
        walked(record)


@pytest.mark.parametrize("gate", ["supportGate", "gate", "visibility", "unlisted", "private"])
def test_what_looks_like_a_gate_is_one_where_nobody_mapped(gate: str) -> None:
    track = walked({"audio": BLOB, gate: False})
    assert (track.gated, track.audio_key) == (True, None)


def test_fields_that_no_path_reaches_are_reported_without_values() -> None:
    soundsky = {
        "$type": "cloud.soundsky.audio",
        "audio": BLOB,
        "metadata": {"title": "T", "bpm": 120, "mood": ["x"], "$type": "y"},
        "waveform": BLOB,
        "loud": True,
        "secret word": "x",
        "gone": None,
    }
    assert find_unmapped(MAPPING["cloud.soundsky.audio"], soundsky) == {
        "metadata.mood": "array",
        "waveform": "blob",
        "loud": "boolean",
        "?": "string",
        "gone": "null",
    }
    plyr_features = plyr(
        features=[{"did": "did:web:a.example.com", "handle": "a", "role": {}}, "did:web:b.example.com"]
    )
    assert find_unmapped(MAPPING["fm.plyr.track"], plyr_features) == {"features.role": "object"}
    assert len(find_unmapped(MAPPING["fm.plyr.track"], {f"x{number}": 1 for number in range(500)})) == 16


@pytest.mark.parametrize("collection", SAMPLES)
def test_nothing_of_a_usual_record_is_reported(collection: str) -> None:
    assert find_unmapped(MAPPING[collection], SAMPLES[collection][0]) == {}


# --- seen in real data (LEXICONS section 2) ------------------------------------------------------------------


@pytest.mark.parametrize("mime", ["audio/vnd.wave", "audio/opus", "audio/mp3", "application/octet-stream", "", None])
def test_a_blobs_type_is_a_claim_that_decides_nothing(mime: Any) -> None:
    assert read("fm.plyr.track", plyr(audioBlob=BLOB | {"mimeType": mime})).blob.mime == (mime or "")


def test_features_may_be_dids_or_objects() -> None:
    features = ["did:web:a.example.com", {"did": "did:web:b.example.com", "handle": "b"}, "nobody", 5, {}]
    track = read("fm.plyr.track", plyr(features=features))
    assert sorted(track.credits) == ["did:web:a.example.com", "did:web:b.example.com"]


def test_soundskys_mirror_post_and_sparks_shortest_sound_are_kept() -> None:
    post = "at://did:plc:artist222222222222222222/app.bsky.feed.post/3kaaaaaaaaaa2"
    record = SAMPLES["cloud.soundsky.audio"][0]
    assert read("cloud.soundsky.audio", record | {"mirrorPost": post}).post_refs == (post,)
    assert read("cloud.soundsky.audio", record | {"mirrorPost": {"uri": post, "cid": "x"}}).post_refs == (post,)
    for nonsense in ("https://bsky.app/x", 5, {"uri": 5}, [post]):
        assert read("cloud.soundsky.audio", record | {"mirrorPost": nonsense}).post_refs == ()
    assert read("so.sprk.sound.audio", SAMPLES["so.sprk.sound.audio"][0]).feeds_min_seconds == 20


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
    except Permanent:
        return
    assert track.gated or track.audio_key
    assert 0 <= track.created_us <= NOW_US
    track.title.encode()


@given(JSON | st.dictionaries(st.sampled_from(FIELDS), JSON | INNER))
def test_any_json_can_be_searched(record: Any) -> None:
    with contextlib.suppress(BadRecord):
        assert walked(record).gated or walked(record).audio_key
    for mapping in MAPPING.values():
        for path, kind in find_unmapped(mapping, record).items():
            assert path.isascii()
            assert kind.isalpha()


@given(st.text(st.characters(), max_size=3000))
def test_clean_text_is_one_encodable_bounded_line(text: str) -> None:
    cleaned = clean_text(text)
    cleaned.encode()
    assert len(cleaned) <= 1000
    assert not set(cleaned) & set("\n\r\x00\u202e")


def test_a_mapping_is_a_value() -> None:
    assert CollectionMap("a.b.c") == CollectionMap("a.b.c")


@pytest.mark.parametrize(
    ("released", "hold_until_us"),
    [("2024-01-01T00:00:00Z", None), (None, None), ("2099-01-01T00:00:00Z", 4_070_908_800_000_000)],
)
def test_a_track_is_held_until_its_release(released: Any, hold_until_us: int | None) -> None:
    track = read("sh.comet.v0.feed.track", {"title": "T", "audio": BLOB, "releasedAt": released})
    assert (track.hold_until_us, track.blob.cid) == (hold_until_us, CID)


@pytest.mark.parametrize("released", ["soon", 7, "2099-01-01", {"at": 1}])
def test_a_release_that_cannot_be_read_holds_for_good(released: Any) -> None:
    with pytest.raises(Held):
        read("sh.comet.v0.feed.track", {"title": "T", "audio": BLOB, "releasedAt": released})


@pytest.mark.parametrize(
    ("written", "read_as"),
    [
        ("CH-A12-34-56789", "CHA123456789"),
        ("cha123456789", "CHA123456789"),
        ("CHA12345678", None),
        ("unknown", None),
        (123456789012, None),
        ("C" * 100_000, None),
    ],
)
def test_an_isrc_is_kept_if_it_is_one(written: object, read_as: str | None) -> None:
    record = dict(SAMPLES["cloud.soundsky.audio"][0])
    record["metadata"] = record.get("metadata", {}) | {"isrc": written}
    assert read("cloud.soundsky.audio", record).isrc == read_as
