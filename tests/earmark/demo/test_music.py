"""The demo's own pieces, and how they and a person's files get onto the network."""

from __future__ import annotations

import wave
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from core.clock import SystemClock
from core.link import LinkRule
from core.types import AtUri
from earmark.demo import Network, music, synth
from earmark.demo.publish import POST_COLLECTION, Recording, find_recordings, publish
from firehose.links import LinkRules, find_links

RULES = LinkRules(frozenset({"fm.plyr.track"}), frozenset({"plyr.fm"}))


@pytest.mark.parametrize("piece", music.PIECES, ids=lambda piece: piece.title)
def test_a_piece_is_sound_of_the_promised_form(piece: music.Piece) -> None:
    samples = music.compose(piece)
    assert samples.shape[1] == 2
    assert 30 <= len(samples) / music.RATE <= 40  # feeds want 30 s
    assert np.isfinite(samples).all()
    assert 0.3 < np.abs(samples).max() <= 1.0
    seconds = samples[: len(samples) // music.RATE * music.RATE].reshape(-1, music.RATE, 2)
    loudness = 20 * np.log10(np.sqrt((seconds**2).mean(axis=(1, 2))) + 1e-9)
    assert (loudness[1:-2] > -50).all()  # no hole in the middle


def test_pieces_cover_the_mood_feeds_and_repeat_exactly() -> None:
    assert {"calm", "dance-floor", "heavy"} <= {piece.mood for piece in music.PIECES}
    quickest = next(piece for piece in music.PIECES if piece.title == "Weather")
    assert np.array_equal(music.compose(quickest), music.compose(quickest))
    assert not np.array_equal(music.compose(quickest), music.compose(quickest, seed=2))


def test_encode_writes_sixteen_bit_wav(tmp_path: Path) -> None:
    path = tmp_path / "tone.wav"
    tone = np.sin(2 * np.pi * 440 * synth.times(0.5))
    music.encode(np.stack([tone, 2 * tone], axis=1), path)
    with wave.open(str(path)) as file:
        assert (file.getnchannels(), file.getsampwidth(), file.getframerate()) == (2, 2, music.RATE)
        read = np.frombuffer(file.readframes(file.getnframes()), "<i2").reshape(-1, 2)
    assert read[:, 0] == pytest.approx(tone * 32767, abs=0.51)
    assert read[:, 1].max() == 32767


@pytest.mark.parametrize("note", [40, 57, 76])
def test_strings_are_in_tune(note: int) -> None:
    sound = synth.pluck(synth.hertz(note), 2.0, np.random.default_rng(1), bright=0.3, ring=0.999)
    spectrum = np.abs(np.fft.rfft(sound * np.hanning(len(sound)), 8 * len(sound)))
    frequencies = np.fft.rfftfreq(8 * len(sound), 1 / music.RATE)
    near = (frequencies > synth.hertz(note - 0.7)) & (frequencies < synth.hertz(note + 0.7))
    heard = frequencies[near][spectrum[near].argmax()]
    assert abs(1200 * np.log2(heard / synth.hertz(note))) < 8  # cents


def test_band_keeps_what_is_inside() -> None:
    time = synth.times(1.0)
    low, high = np.sin(2 * np.pi * 100 * time), np.sin(2 * np.pi * 5000 * time)
    kept = synth.band(low + high, 1000.0, None, order=3)
    assert np.abs(kept[4410:-4410] - high[4410:-4410]).max() < 0.02


def make_recordings(folder: Path, count: int) -> list[Recording]:
    recordings = []
    for number in range(count):
        path = folder / f"take-{number}.wav"
        music.encode(np.full((4410, 2), number / 10), path)
        recordings.append(Recording(f"Take {number}", ("ada", "bob")[number % 2], path, "audio/wav", 33))
    return recordings


async def test_publish_links_every_track_from_a_post_of_its_artist(network: Network, tmp_path: Path) -> None:
    published = await publish(network, make_recordings(tmp_path, 5))
    assert [track.hidden for track in published] == [False] * 5 + [True] * 2
    accounts = {account.did: account for account in network.accounts}
    assert sorted(account.handle for account in network.accounts) == ["ada.test", "bob.test"]
    rules = []
    for track in published:
        records = accounts[track.uri.did].repo.records
        record = records[f"fm.plyr.track/{track.uri.rkey}"]
        assert record.cid_text == track.cid
        assert record.value["audioBlob"]["ref"]["$link"] == track.blob
        assert {"title", "artist", "fileType", "createdAt", "duration"} <= record.value.keys()
        post = records[f"{POST_COLLECTION}/{track.post.rkey}"].value
        (link,) = find_links(RULES, track.post, post, now_us=SystemClock().now_us())
        assert link.target in (str(track.uri), network.page_url(track.uri))
        rules.append(link.rule)
    assert rules[:5] == [
        LinkRule.EMBED_RECORD,
        LinkRule.ASSOCIATED_REF,
        LinkRule.PAGE_IN_EMBED,
        LinkRule.PAGE_IN_FACET,
        LinkRule.EMBED_RECORD,
    ]


async def test_the_unlisted_track_is_unlisted_before_anybody_can_ask(
    network: Network, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    said: dict[str, Any] = {}
    create = network.create_record

    def watch(*args: Any) -> AtUri:
        uri = create(*args)
        said[str(uri)] = network._world.find_track(str(uri))
        return uri

    monkeypatch.setattr(network, "create_record", watch)
    *_, unlisted, gated = await publish(network, make_recordings(tmp_path, 1))
    assert said[str(unlisted.uri)][1] == "unlisted"
    assert said[str(gated.uri)][1] == "supporters"
    record = next(a for a in network.accounts if a.did == gated.uri.did).repo.records[f"fm.plyr.track/{gated.uri.rkey}"]
    assert record.value["supportGate"]["type"] == "any"


def test_a_persons_files_are_found_below_the_folder(tmp_path: Path) -> None:
    for name in ("b.MP3", "deep/er/a.flac", "notes.txt", ".trash/c.wav", "d.opus"):
        path = tmp_path / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(b"x")
    found = find_recordings(tmp_path)
    assert [(recording.title, recording.mime) for recording in found] == [
        ("b", "audio/mpeg"),
        ("d", "audio/ogg"),
        ("a", "audio/flac"),
    ]
