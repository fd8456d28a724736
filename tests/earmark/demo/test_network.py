"""The demo's directory, PDS and visibility answers over HTTP."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import aiohttp
import pytest

from core.dagcbor import RAW, cid_of, cid_text, encode
from core.errors import Misconfigured
from core.keys import PublicKey, SigningKey
from core.types import is_plc
from earmark.demo import DemoAccount, Network
from earmark.demo.publish import create_labeler
from firehose.car import read_car

TRACKS = "fm.plyr.track"


async def get(http: aiohttp.ClientSession, url: str, **params: str) -> tuple[int, Any]:
    async with http.get(url, params=params) as answer:
        return answer.status, await answer.json()


async def get_bytes(http: aiohttp.ClientSession, url: str, **params: str) -> tuple[int, bytes]:
    async with http.get(url, params=params) as answer:
        return answer.status, await answer.read()


def add_track(network: Network, account: DemoAccount, source: bytes | Path, **extra: Any) -> tuple[str, str]:
    """Uri and blob CID of a new track."""
    blob = network.upload_blob(account, source, "audio/wav")
    uri = network.create_record(account, TRACKS, None, {"title": "One", "audioBlob": blob, **extra})
    return str(uri), blob["ref"]["$link"]


@pytest.mark.parametrize("host", ["0.0.0.0", "::", "192.168.1.4", "8.8.8.8"])
def test_it_listens_on_loopback_only(host: str) -> None:
    with pytest.raises(Misconfigured, match="loopback"):
        Network(host=host)


async def test_start_and_stop_leave_nothing_behind_and_dids_are_the_same_again() -> None:
    dids = []
    for _ in range(2):
        async with Network() as network:
            dids.append(network.create_account("ada.test").did)
            url = network.url
        await network.stop()
        async with aiohttp.ClientSession() as http:
            with pytest.raises(aiohttp.ClientConnectionError):
                await http.get(url)
    assert dids[0] == dids[1]
    assert is_plc(dids[0])


async def test_p205_p207_did_documents(network: Network, http: aiohttp.ClientSession) -> None:
    labeler = create_labeler(network, endpoint="http://127.0.0.1:9")
    did = labeler.account.did
    status, document = await get(http, f"{network.url}/{did}")
    assert status == 200
    assert document["id"] == did
    assert document["alsoKnownAs"] == ["at://earmark.test"]
    keys = {method["id"]: method for method in document["verificationMethod"]}
    assert set(keys) == {f"{did}#atproto", f"{did}#atproto_label"}
    assert PublicKey.from_multikey(keys[f"{did}#atproto"]["publicKeyMultibase"]) == labeler.account.key.public
    label_key = PublicKey.from_multikey(keys[f"{did}#atproto_label"]["publicKeyMultibase"])
    assert label_key == SigningKey.from_hex(labeler.secret_hex).public
    assert labeler.secret_hex not in repr(labeler)
    services = {service["id"]: (service["type"], service["serviceEndpoint"]) for service in document["service"]}
    assert services == {
        f"{did}#atproto_pds": ("AtprotoPersonalDataServer", network.url),
        f"{did}#atproto_labeler": ("AtprotoLabeler", "http://127.0.0.1:9"),
        f"{did}#bsky_fg": ("BskyFeedGenerator", "http://127.0.0.1:9"),
    }
    assert (await get(http, f"{network.url}/did:plc:aaaaaaaaaaaaaaaaaaaaaaaa"))[0] == 404
    network.switches.directory_down = True
    assert (await get(http, f"{network.url}/{did}"))[0] == 502


async def test_p181_p182_blobs_come_whole_from_memory_and_from_files(
    network: Network, http: aiohttp.ClientSession, tmp_path: Path
) -> None:
    path = tmp_path / "long.wav"
    path.write_bytes(bytes(range(256)) * 4000)
    account = network.create_account("ada.test")
    for source, expected in ((b"some bytes", b"some bytes"), (path, path.read_bytes())):
        _, cid = add_track(network, account, source)
        assert cid == cid_of(expected, RAW)
        query = {"did": account.did, "cid": cid}
        async with http.get(
            f"{network.url}/xrpc/com.atproto.sync.getBlob", params=query, headers={"Range": "bytes=0-3"}
        ) as answer:
            assert (answer.status, answer.content_length) == (200, len(expected))
            assert await answer.read() == expected
            assert answer.content_type == "audio/wav"


async def test_p186_absent_and_wrong_blobs(network: Network, http: aiohttp.ClientSession) -> None:
    account = network.create_account("ada.test")
    method = f"{network.url}/xrpc/com.atproto.sync.getBlob"
    unreferenced = network.upload_blob(account, b"nobody wants me", "audio/wav")["ref"]["$link"]
    uri, cid = add_track(network, account, b"right bytes")
    for absent in (unreferenced, "bafkreibme22gw2h7y2h7tg2fhqotaqjucnbc24deqo72b6mkl2egezxhvy", "nonsense"):
        answer = await get(http, method, did=account.did, cid=absent)
        assert answer == (400, {"error": "InvalidRequest", "message": "Blob not found"})
    network.corrupt_blob(cid)
    assert (await get_bytes(http, method, did=account.did, cid=cid))[1] != b"right bytes"
    network.remove_blob(cid)
    assert (await get(http, method, did=account.did, cid=cid))[0] == 400
    _, second = add_track(network, account, b"other bytes")
    network.delete_record(account, TRACKS, uri.rpartition("/")[2])
    network.switches.pds_down = True
    assert (await get(http, method, did=account.did, cid=second))[0] == 502


async def test_p177_errors_name_the_state_of_the_account(network: Network, http: aiohttp.ClientSession) -> None:
    account = network.create_account("ada.test")
    _, cid = add_track(network, account, b"bytes")
    methods = f"{network.url}/xrpc/com.atproto.sync"
    names = {"takendown": "RepoTakendown", "suspended": "RepoSuspended", "deactivated": "RepoDeactivated"}
    for status, name in names.items():
        network.set_account_status(account, False, status)  # type: ignore[arg-type]
        assert (await get(http, f"{methods}.getBlob", did=account.did, cid=cid))[1]["error"] == name
        answer = await get(http, f"{methods}.getRepoStatus", did=account.did)
        assert answer == (200, {"did": account.did, "active": False, "status": status})
    network.set_account_status(account, False, "deleted")
    assert (await get(http, f"{methods}.getRepoStatus", did=account.did))[1]["error"] == "RepoNotFound"


async def test_records_are_listed_fetched_and_proven(network: Network, http: aiohttp.ClientSession) -> None:
    account = network.create_account("ada.test")
    for number in range(5):
        network.create_record(account, TRACKS, f"t{number}", {"title": f"{number}"})
    methods = f"{network.url}/xrpc/com.atproto"
    _, page = await get(http, f"{methods}.repo.listRecords", repo="ada.test", collection=TRACKS, limit="3")
    assert [record["value"]["title"] for record in page["records"]] == ["4", "3", "2"]
    query = {"repo": account.did, "collection": TRACKS, "limit": "3", "cursor": page["cursor"]}
    _, rest = await get(http, f"{methods}.repo.listRecords", **query)
    assert [record["value"]["title"] for record in rest["records"]] == ["1", "0"]
    assert "cursor" not in rest
    _, record = await get(http, f"{methods}.repo.getRecord", repo=account.did, collection=TRACKS, rkey="t0")
    assert record["uri"] == f"at://{account.did}/{TRACKS}/t0"
    assert record["cid"] == cid_of(encode({"$type": TRACKS, "title": "0"}))
    answer = await get(http, f"{methods}.repo.getRecord", repo=account.did, collection=TRACKS, rkey="t9")
    assert (answer[0], answer[1]["error"]) == (400, "RecordNotFound")
    _, proof = await get_bytes(http, f"{methods}.sync.getRecord", did=account.did, collection=TRACKS, rkey="t0")
    assert read_car(proof).value(account.repo.records[f"{TRACKS}/t0"].cid)["title"] == "0"
    _, whole = await get_bytes(http, f"{methods}.sync.getRepo", did=account.did)
    car = read_car(whole)
    assert car.root == account.repo.head.cid
    assert all(record.cid in car for record in account.repo.records.values())


async def test_p175_repositories_are_listed_by_collection_and_described(
    network: Network, http: aiohttp.ClientSession
) -> None:
    accounts = [network.create_account(f"{name}.test") for name in ("ada", "eve", "joe", "kim")]
    for account in accounts[:3]:
        add_track(network, account, account.did.encode())
    network.create_record(accounts[3], "com.example.other", None, {})
    methods, dids = f"{network.url}/xrpc/com.atproto", sorted(account.did for account in accounts[:3])
    query = {"collection": TRACKS, "limit": "2"}
    _, page = await get(http, f"{methods}.sync.listReposByCollection", **query)
    assert [repo["did"] for repo in page["repos"]] == dids[:2]
    answer = await get(http, f"{methods}.sync.listReposByCollection", **query, cursor=page["cursor"])
    assert answer == (200, {"repos": [{"did": dids[2]}]})
    head = accounts[0].repo.head
    answer = await get(http, f"{methods}.sync.getLatestCommit", did=accounts[0].did)
    assert answer == (200, {"cid": cid_text(head.cid), "rev": head.rev})
    _, described = await get(http, f"{methods}.repo.describeRepo", repo="ada.test")
    assert (described["did"], described["collections"]) == (accounts[0].did, [TRACKS])
    network.set_account_status(accounts[0], False, "deactivated")
    for method, name in (("sync.getLatestCommit", "did"), ("repo.describeRepo", "repo")):
        assert (await get(http, f"{methods}.{method}", **{name: accounts[0].did}))[1]["error"] == "RepoDeactivated"
    _, page = await get(http, f"{methods}.sync.listReposByCollection", collection=TRACKS)
    assert accounts[0].did not in [repo["did"] for repo in page["repos"]]


async def test_small_methods_and_unknown_ones(network: Network, http: aiohttp.ClientSession) -> None:
    account = network.create_account("ada.test")
    xrpc = f"{network.url}/xrpc"
    assert (await get(http, f"{xrpc}/com.atproto.identity.resolveHandle", handle="Ada.test"))[1] == {"did": account.did}
    assert (await get(http, f"{xrpc}/com.atproto.identity.resolveHandle", handle="eve.test"))[0] == 400
    assert "did" in (await get(http, f"{xrpc}/com.atproto.server.describeServer"))[1]
    assert (await get(http, f"{xrpc}/_health"))[0] == 200
    assert (await get(http, f"{xrpc}/com.example.nothing"))[1]["error"] == "MethodNotImplemented"
    assert (await get(http, f"{xrpc}/com.atproto.sync.getBlob"))[1]["error"] == "InvalidRequest"


async def test_what_plyr_says_of_tracks(network: Network, http: aiohttp.ClientSession) -> None:
    account = network.create_account("ada.test")
    method = f"{network.visibility_url}/tracks/by-uri"
    plain, _ = add_track(network, account, b"a")
    gated, _ = add_track(network, account, b"b", supportGate={"type": "any"})
    unlisted, _ = add_track(network, account, b"c")
    network.set_visibility(unlisted, "unlisted")
    answers = {uri: (await get(http, method, uri=uri))[1] for uri in (plain, gated, unlisted)}
    assert [answer["visibility"] for answer in answers.values()] == ["public", "supporters", "unlisted"]
    assert [answer["unlisted"] for answer in answers.values()] == [False, False, True]
    assert all(answer["atproto_record_uri"] == uri for uri, answer in answers.items())
    assert network.page_url(plain) == f"https://plyr.fm/track/{answers[plain]['id']}"
    network.delete_record(account, TRACKS, plain.rpartition("/")[2])
    for unknown in (plain, "at://nobody", ""):
        assert (await get(http, method, uri=unknown))[0] == 404
    network.switches.visibility_down = True
    assert (await get(http, method, uri=gated))[0] == 502
