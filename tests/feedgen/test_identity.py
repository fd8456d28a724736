"""What makes the service and its feeds known: the DID document and the feed records."""

from __future__ import annotations

import pytest

from core.feed import Feed
from core.keys import SigningKey
from core.taxonomy import Taxonomy
from core.types import AtUri
from feedgen import build_did_document, build_generator_record, feed_uri, load_catalogue

DID = "did:web:music.example.com"
ENDPOINT = "https://music.example.com"


def test_p99_did_document() -> None:
    document = build_did_document(DID, ENDPOINT)
    assert document is not None
    assert document["id"] == DID
    assert document["service"] == [{"id": "#bsky_fg", "type": "BskyFeedGenerator", "serviceEndpoint": ENDPOINT}]
    assert "verificationMethod" not in document


def test_p99_did_document_of_a_labeler_as_well() -> None:
    key = SigningKey(bytes(range(1, 33))).public
    document = build_did_document(DID, ENDPOINT, label_key=key)
    assert document is not None
    assert [service["id"] for service in document["service"]] == ["#bsky_fg", "#atproto_labeler"]
    (method,) = document["verificationMethod"]
    assert (method["id"], method["controller"], method["publicKeyMultibase"]) == (
        f"{DID}#atproto_label",
        DID,
        key.multikey,
    )


def test_p45_the_key_of_certificates_stands_beside_the_label_key() -> None:
    label, certificate = (SigningKey(bytes([seed] * 32)).public for seed in (1, 2))
    document = build_did_document(DID, ENDPOINT, label_key=label, certificate_key=certificate)
    assert document is not None
    assert {method["id"]: method["publicKeyMultibase"] for method in document["verificationMethod"]} == {
        f"{DID}#atproto_label": label.multikey,
        f"{DID}#earmark_certificate": certificate.multikey,
    }
    alone = build_did_document(DID, ENDPOINT, certificate_key=certificate)  # certificates need no labeler
    assert alone is not None
    assert [service["id"] for service in alone["service"]] == ["#bsky_fg"]


@pytest.mark.parametrize(
    ("did", "endpoint"),
    [
        ("did:web:localhost%3A8420", "http://127.0.0.1:8420"),
        ("did:web:localhost%3A8420", "http://localhost:8420"),
        ("did:web:music.example.com", "https://Music.Example.com"),
    ],
)
def test_p99_hosts_that_agree(did: str, endpoint: str) -> None:
    assert build_did_document(did, endpoint) is not None


@pytest.mark.parametrize(
    ("did", "endpoint"),
    [
        ("did:plc:pppppppppppppppppppppppp", ENDPOINT),
        ("did:web:other.example.com", ENDPOINT),
        (DID, "https://music.example.com:8443"),
        (DID, "https://music.example.com/earmark"),
        (DID, "https://music.example.com/"),
        (DID, "music.example.com"),
    ],
)
def test_p99_no_document_for_another_host(did: str, endpoint: str) -> None:
    assert build_did_document(did, endpoint) is None


def test_p100_p101_records_of_the_whole_catalogue() -> None:
    for feed in load_catalogue(taxonomy=Taxonomy.load(), include_disabled=True):
        record = build_generator_record(feed, service_did=DID, created_us=1_700_000_000_000_000)
        assert record == {
            "$type": "app.bsky.feed.generator",
            "did": DID,
            "displayName": feed.display_name,
            "description": feed.description,
            "createdAt": "2023-11-14T22:13:20.000Z",
            **({"acceptsInteractions": True} if feed.personal else {}),  # P129
        }
        AtUri.parse(feed_uri("did:plc:pppppppppppppppppppppppp", feed.rkey))


def test_p100_a_record_with_an_avatar() -> None:
    avatar = {"$type": "blob", "ref": {"$link": "bafkrei"}, "mimeType": "image/png", "size": 1000}
    feed = Feed("calm", "Calm", "Quiet.")
    assert build_generator_record(feed, service_did=DID, created_us=0, avatar=avatar)["avatar"] == avatar
