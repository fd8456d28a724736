"""A labeler is enrolled, checked and given a new key, by the verbs an operator calls, at a real PDS and PLC."""

from __future__ import annotations

import asyncio
import secrets
import sys
from pathlib import Path
from typing import Any

import httpx
import orjson
import pytest_asyncio
from pydantic import SecretStr

from core.config import Settings
from core.keys import PublicKey, SigningKey
from core.types import Did
from labeler.signing import verify
from labeler.vocabulary import NSID, RKEY
from tests.network.artist import Artist
from tests.network.following import environment, follow, running
from tests.network.pds import PASSWORD, Account
from tests.network.world import Samples, World

FEEDS = {"type": "BskyFeedGenerator", "endpoint": "https://feeds.example.com"}


class Operator:
    """Runs verbs in processes of their own and types what they ask for."""

    def __init__(self, world: World, account: Account, settings: Settings) -> None:
        self._world, self.account, self.settings = world, account, settings

    async def call(self, *words: str, mailed: bool = False, password: str = PASSWORD) -> tuple[int, str, str]:
        """Exit code, stdout, stderr; `mailed`: the code from the mail is typed when it has come."""
        pipe = asyncio.subprocess.PIPE
        process = await asyncio.create_subprocess_exec(
            sys.executable,
            "-m",
            "earmark.cli",
            *words,
            env=environment(self.settings) | {"EARMARK_PDS_PASSWORD": password},
            stdin=pipe,
            stdout=pipe,
            stderr=pipe,
        )
        typed = None
        if mailed:
            mail = await self._world.pds.server.mail("plcOperation", self.account.email)
            typed = f"{mail['token']}\n".encode()
        said, told = await asyncio.wait_for(process.communicate(typed), 60)
        assert password not in told.decode()
        return process.returncode or 0, said.decode(), told.decode()

    async def entry(self) -> dict[str, Any]:
        async with httpx.AsyncClient(trust_env=False) as client:
            found: dict[str, Any] = (await client.get(f"{self._world.plc_url}/{self.account.did}/data")).json()
        return found

    async def record(self) -> dict[str, Any] | None:
        listed = await self._world.pds.ask("com.atproto.repo.listRecords", repo=self.account.did, collection=NSID)
        found = [record["value"] for record in listed["records"] if record["uri"].endswith(f"/{RKEY}")]
        return found[0] if found else None


@pytest_asyncio.fixture(loop_scope="session")
async def operator(world: World, tmp_path: Path) -> Operator:
    """An account that is somebody's feed generator already, with a key that nobody was told of yet."""
    account = await world.pds.create_account(f"enrolled{secrets.token_hex(3)}.test")
    now = await world.pds.ask("com.atproto.identity.getRecommendedDidCredentials", by=account)
    await world.pds.change_identity(account, services=now["services"] | {"bsky_fg": FEEDS})
    settings = follow(
        tmp_path / "data",
        home=world.home,
        stream=world.pds.stream_url,
        relay="",
        begin="live",
        plc=world.plc_url,
        plyr=world.plyr.url,
        did=account.did,
        secret="00" * 32,
    )
    file = tmp_path / "label.key"
    labeler = settings.labeler.model_copy(update={"key": None, "key_file": file})
    return Operator(world, account, settings.model_copy(update={"labeler": labeler}))


def in_memory(settings: Settings) -> Settings:
    """The key of the file, so that the test's own reader of the stream knows it."""
    assert settings.labeler.key_file is not None
    key = SecretStr(settings.labeler.key_file.read_text().strip())
    return settings.model_copy(update={"labeler": settings.labeler.model_copy(update={"key": key})})


async def query(settings: Settings, did: Did) -> list[dict[str, Any]]:
    async with httpx.AsyncClient(base_url=settings.public_url, trust_env=False) as client:
        params = {"uriPatterns": f"at://{did}/*"}
        answer = await client.get("/xrpc/com.atproto.label.queryLabels", params=params)
    labels: list[dict[str, Any]] = answer.raise_for_status().json()["labels"]
    return labels


async def test_p41_p49_p85_p86_a_labeler_is_enrolled_checked_and_given_a_new_key(
    world: World, operator: Operator, techno: Samples
) -> None:
    settings, file = operator.settings, operator.settings.labeler.key_file
    assert file is not None
    code, said, _ = await operator.call("labeler", "key", "new", str(file))
    assert code == 0
    first = SigningKey.from_hex(file.read_text()).public
    assert first.multikey in said

    # A dry run asks nobody for anything, and shows additions only.
    before = await operator.entry()
    code, said, told = await operator.call("labeler", "setup", "--dry-run", "--json")
    assert code == 0, told
    assert [line[0] for line in orjson.loads(said)["identity"]] == ["+", "+"]
    assert (await operator.entry(), await operator.record()) == (before, None)

    # Nothing is served under a name that does not say so.
    code, _, told = await operator.call("serve")
    assert code == 2
    assert "first_setup" in told

    # The document first; the record waits for the service.
    code, _, told = await operator.call("labeler", "setup", "--yes", mailed=True)
    assert code == 1, told
    assert "left to do: the declaration waits" in told
    entry = await operator.entry()
    assert entry["services"] == before["services"] | {
        "atproto_labeler": {"type": "AtprotoLabeler", "endpoint": settings.public_url}
    }
    assert entry["services"]["bsky_fg"] == FEEDS
    assert entry["verificationMethods"] == before["verificationMethods"] | {"atproto_label": first.did_key}
    assert (entry["rotationKeys"], entry["alsoKnownAs"]) == (before["rotationKeys"], before["alsoKnownAs"])

    async with running(in_memory(settings)) as service:
        body = {"name": "earmark"}
        app = await world.pds.act("com.atproto.server.createAppPassword", body, by=operator.account)
        code, _, told = await operator.call("labeler", "setup", "--yes", password=app["password"])
        assert code == 0, told
        record = await operator.record()
        assert record is not None
        assert len(record["policies"]["labelValueDefinitions"]) == 61
        artist = await world.sign_up(world.pds)
        uri = await artist.track(techno)
        await service.labelled(uri, {"electronic": False})
        code, said, told = await operator.call("labeler", "check", "--json")
        assert code == 0, said
        seen = {check["name"]: check["note"] for check in orjson.loads(said)["checks"]}
        assert "the first label verifies" in seen["queryLabels"]
        assert "the first label verifies" in seen["subscribeLabels"]
        code, said, _ = await operator.call("labeler", "setup", "--yes", "--json")
        assert (code, orjson.loads(said)["identity"], orjson.loads(said)["declaration"]) == (0, [], [])
        assert (await operator.call("labeler", "key", "rotate", "--yes"))[0] == 3
        (old,) = await query(settings, artist.account.did)
        assert verify(old, first)

    await _rotate(operator, first)
    second = SigningKey.from_hex(file.read_text()).public
    assert (await operator.entry())["verificationMethods"]["atproto_label"] == second.did_key
    await _serve_again(operator, artist, old, second)


async def _rotate(operator: Operator, first: PublicKey) -> None:
    """Stopped before the switch it goes on where it was, with the same new key."""
    file = operator.settings.labeler.key_file
    assert file is not None
    code, _, told = await operator.call("labeler", "key", "rotate", "--yes", "--token", "WRONG-TOKEN")
    assert code == 3, told
    made = SigningKey.from_hex(file.with_name("label.key.next").read_text()).public
    assert SigningKey.from_hex(file.read_text()).public == first
    code, said, told = await operator.call("labeler", "key", "rotate", "--yes", mailed=True)
    assert code == 0, told
    assert made.multikey in said
    assert SigningKey.from_hex(file.read_text()).public == made
    assert SigningKey.from_hex(file.with_name("label.key.old").read_text()).public == first
    assert not file.with_name("label.key.next").exists()


async def _serve_again(operator: Operator, artist: Artist, old: dict[str, Any], second: PublicKey) -> None:
    """What the old key signed is signed anew, with its time kept."""
    async with running(in_memory(operator.settings)):
        code, said, _ = await operator.call("labeler", "check", "--json")
        assert code == 0, said
        (new,) = await query(operator.settings, artist.account.did)
        assert verify(new, second)
        assert {**new, "sig": None} == {**old, "sig": None}


async def test_p85_an_app_password_may_not_change_the_identity(world: World, operator: Operator) -> None:
    assert operator.settings.labeler.key_file is not None
    assert (await operator.call("labeler", "key", "new", str(operator.settings.labeler.key_file)))[0] == 0
    before = await operator.entry()
    body = {"name": "earmark"}
    app = await world.pds.act("com.atproto.server.createAppPassword", body, by=operator.account)
    code, _, told = await operator.call("labeler", "setup", "--yes", password=app["password"])
    assert code == 3
    assert "main password" in told
    code, _, told = await operator.call("labeler", "setup", "--yes", password="wrong")
    assert code == 3
    assert await operator.entry() == before
