"""Identifiers: strict in, the same out."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from core.types import (
    AtUri,
    BlobRef,
    Cid,
    Tid,
    Track,
    is_plc,
    is_tid,
    make_tid,
    parse_did,
    parse_nsid,
    parse_rkey,
    tid_microseconds,
)

PLC = "did:plc:z72i7hdynmk6r22z27h6tvur"

dids = st.from_regex(r"did:(plc:[a-z2-7]{24}|web:[a-z0-9]{1,20}\.[a-z]{2,6})", fullmatch=True)
nsids = st.from_regex(r"[a-z]{2,8}\.[a-z0-9]{1,12}\.[a-zA-Z][a-zA-Z0-9]{0,20}", fullmatch=True)
rkeys = st.from_regex(r"[A-Za-z0-9_~.:-]{1,512}", fullmatch=True).filter(lambda text: text not in (".", ".."))


@given(dids, nsids, rkeys)
def test_p14_an_at_uri_reads_back_as_written(did: str, collection: str, rkey: str) -> None:
    text = f"at://{did}/{collection}/{rkey}"
    uri = AtUri.parse(text)
    assert (uri.did, uri.collection, uri.rkey) == (did, collection, rkey)
    assert str(uri) == text
    for spoilt in (text + "/", text + "#x", text + "?a=b", text + "\n", text + "/x", text.upper(), " " + text):
        with pytest.raises(ValueError, match="not a"):
            AtUri.parse(spoilt)


@given(st.text(max_size=60))
def test_p14_whatever_parses_is_canonical(text: str) -> None:
    try:
        uri = AtUri.parse("at://" + text)
    except ValueError:
        return
    assert str(uri) == "at://" + text


@pytest.mark.parametrize(
    "text",
    [
        "at://alice.example/fm.plyr.track/3lbn5tqsb4s2x",  # P211: handles are never accepted
        f"at://{PLC}",
        f"at://{PLC}/fm.plyr.track",
        f"at://{PLC}/fm.plyr.track/..",
        f"at://{PLC}/track/3lbn5tqsb4s2x",
        f"at://{PLC}/fm.plyr.track/" + "k" * 513,
        f"AT://{PLC}/fm.plyr.track/a",
        "",
    ],
)
def test_p14_p211_not_an_address_of_a_record(text: str) -> None:
    with pytest.raises(ValueError, match="not a"):
        AtUri.parse(text)


@pytest.mark.parametrize(
    "text", ["did:", "did:plc", "did:plc:", "DID:plc:a", "did:Plc:a", "did:plc:a:", "did:a:b\n", "x"]
)
def test_p204_not_a_did(text: str) -> None:
    with pytest.raises(ValueError, match="not a DID"):
        parse_did(text)


def test_p205_plc_identifiers_have_24_characters() -> None:
    assert is_plc(PLC)
    assert not is_plc(PLC + "a")
    assert not is_plc(PLC[:-1] + "1")
    assert not is_plc("did:web:example.com")


def test_nsid_and_rkey_limits() -> None:
    assert parse_nsid("fm.plyr.track") == "fm.plyr.track"
    assert parse_rkey("self") == "self"
    for bad in ("fm.plyr", "fm.plyr.3track", "fm..track", "a" * 64 + ".b.c", "fm.plyr.track "):
        with pytest.raises(ValueError, match="not an NSID"):
            parse_nsid(bad)
    for bad in (".", "..", "", "a/b", "a b", "é"):
        with pytest.raises(ValueError, match="not a record key"):
            parse_rkey(bad)


@given(st.integers(0, 2**53 - 1), st.integers(0, 1023))
def test_tids_carry_their_time(microseconds: int, clock_id: int) -> None:
    tid = make_tid(microseconds, clock_id)
    assert is_tid(tid)
    assert tid_microseconds(tid) == microseconds


@given(st.integers(0, 2**53 - 2), st.integers(0, 1023), st.integers(0, 1023))
def test_tids_sort_as_their_times_do(microseconds: int, one: int, other: int) -> None:
    assert make_tid(microseconds, one) < make_tid(microseconds + 1, other)


@pytest.mark.parametrize(
    "text", ["", "3jzfcijpj2z2", "3jzfcijpj2z2aa", "kjzfcijpj2z2a", "3jzfcijpj2z21", "3JZFCIJPJ2Z2A"]
)
def test_not_a_tid(text: str) -> None:
    assert not is_tid(text)
    with pytest.raises(ValueError, match="not a TID"):
        tid_microseconds(text)


def test_an_analysis_is_keyed_by_the_blob_else_by_the_address() -> None:
    uri = AtUri.parse(f"at://{PLC}/fm.plyr.track/3lbn5tqsb4s2x")
    blob = BlobRef(Cid("bafkreia"), "audio/mpeg", 5)

    def track(blob: BlobRef | None, url: str | None) -> Track:
        return Track(uri, Cid("c"), Tid("t"), "title", 0, blob=blob, audio_url=url)

    assert track(blob, "https://a.example/x.mp3").audio_key == "bafkreia"
    assert track(None, "https://a.example/x.mp3").audio_key == "url:https://a.example/x.mp3"
    assert track(None, None).audio_key is None
    assert track(None, None).did == PLC
