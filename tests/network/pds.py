"""A reference PDS on loopback, and what its users and its operator can do with it, over XRPC as anybody would."""

from __future__ import annotations

import secrets
from base64 import urlsafe_b64encode
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import httpx
import orjson

from core.dagcbor import encode
from core.keys import SigningKey
from core.types import AtUri, Did
from tests.network.install import Installed
from tests.network.process import NodeServer

Record = dict[str, Any]
PASSWORD = "only-on-loopback"
ADMIN = "com.atproto.admin.updateSubjectStatus"


@dataclass(slots=True)
class Account:
    """Somebody with a repository here, signed in."""

    did: Did
    handle: str
    email: str
    token: str = field(repr=False)


class Pds:
    """Use the server's own life cycle through `server`; its data and its port outlast a restart."""

    def __init__(self, installed: Installed, folder: Path, port: int, plc_url: str) -> None:
        folder.mkdir(parents=True)  # the PDS does not make its own
        self.url = f"http://localhost:{port}"
        self.did = f"did:web:localhost%3A{port}"
        self._folder = folder
        self._admin, rotation_secret = secrets.token_hex(16), secrets.token_hex(32)
        self._plc_url, self._rotation_key = plc_url, SigningKey.from_hex(rotation_secret)
        environment = {
            "PDS_HOSTNAME": "localhost",
            "PDS_PORT": str(port),
            "PDS_SERVICE_DID": self.did,
            "PDS_DATA_DIRECTORY": str(folder),
            "PDS_BLOBSTORE_DISK_LOCATION": str(folder / "blobs"),
            "PDS_DID_PLC_URL": plc_url,
            "PDS_ADMIN_PASSWORD": self._admin,
            "PDS_JWT_SECRET": secrets.token_hex(16),
            "PDS_PLC_ROTATION_KEY_K256_PRIVATE_KEY_HEX": rotation_secret,
            "PDS_INVITE_REQUIRED": "false",
            "PDS_DEV_MODE": "true",  # else it proxies to nobody on loopback
        }
        self.server = NodeServer(installed, "pds", environment=environment)
        self._client = httpx.AsyncClient(base_url=self.url, trust_env=False, timeout=30.0)

    @property
    def stream_url(self) -> str:
        return self.url.replace("http", "ws", 1)

    async def close(self) -> None:
        await self._client.aclose()
        await self.server.stop()

    async def ask(self, nsid: str, *, by: Account | None = None, proxy: str = "", **params: str) -> Record:
        """A query, through the PDS to `proxy` (DID#service) if given. Raises AssertionError with what was answered."""
        headers = _sign(by) | ({"atproto-proxy": proxy} if proxy else {})
        return _read(nsid, await self._client.get(f"/xrpc/{nsid}", params=params, headers=headers))

    async def act(self, nsid: str, body: Record | None = None, *, by: Account | None = None, proxy: str = "") -> Record:
        """A procedure, through the PDS to `proxy` if given; a few have no body. Raises AssertionError with what was
        answered.
        """
        headers = _sign(by) | ({"atproto-proxy": proxy} if proxy else {})
        return _read(nsid, await self._client.post(f"/xrpc/{nsid}", json=body, headers=headers))

    # --- accounts -------------------------------------------------------------------------------------------

    async def create_account(self, handle: str) -> Account:
        email = f"{handle.replace('.', '-')}@mail.test"
        body = {"handle": handle, "email": email, "password": PASSWORD}
        made = await self.act("com.atproto.server.createAccount", body)
        return Account(Did(made["did"]), handle, email, made["accessJwt"])

    async def rename(self, account: Account, handle: str) -> None:
        await self.act("com.atproto.identity.updateHandle", {"handle": handle}, by=account)
        account.handle = handle

    async def deactivate(self, account: Account) -> None:
        await self.act("com.atproto.server.deactivateAccount", {}, by=account)

    async def activate(self, account: Account) -> None:
        await self.act("com.atproto.server.activateAccount", by=account)

    async def delete_account(self, account: Account) -> None:
        """With the token from the mail, as a person does it."""
        await self.act("com.atproto.server.requestAccountDelete", by=account)
        token = (await self.server.mail("deleteAccount", account.email))["token"]
        body = {"did": account.did, "password": PASSWORD, "token": token}
        await self.act("com.atproto.server.deleteAccount", body)

    async def change_identity(self, account: Account, **changes: Any) -> None:
        """A PLC operation."""
        signed = await self.sign_identity(account, **changes)
        await self.act("com.atproto.identity.submitPlcOperation", {"operation": signed}, by=account)

    async def sign_identity(self, account: Account, **changes: Any) -> Record:
        """The PDS signs the operation for who has the token from the mail."""
        await self.act("com.atproto.identity.requestPlcOperationSignature", by=account)
        token = (await self.server.mail("plcOperation", account.email))["token"]
        body = {"token": token, **changes}
        operation: Record = (await self.act("com.atproto.identity.signPlcOperation", body, by=account))["operation"]
        return operation

    async def tombstone(self, account: Account) -> None:
        """Ends an identity for good, at the directory only: nothing is said on any stream."""
        log = (await self._client.get(f"{self._plc_url}/{account.did}/log/audit")).json()
        operation = {"type": "plc_tombstone", "prev": log[-1]["cid"]}
        signature = urlsafe_b64encode(self._rotation_key.sign(encode(operation))).decode().rstrip("=")
        answer = await self._client.post(f"{self._plc_url}/{account.did}", json=operation | {"sig": signature})
        assert answer.status_code == 200, answer.text

    async def adopt(self, account: Account, old: Pds) -> None:
        """Moves an account here as its owner would: repository, blobs, identity; then the old place is closed."""
        lxm = "com.atproto.server.createAccount"
        word = await old.ask("com.atproto.server.getServiceAuth", by=account, aud=self.did, lxm=lxm)
        body = {"handle": account.handle, "email": account.email, "password": PASSWORD, "did": account.did}
        invited = Account(account.did, account.handle, account.email, word["token"])
        made = await self.act(lxm, body, by=invited)
        moved = Account(account.did, account.handle, account.email, made["accessJwt"])
        repo = await old.download("com.atproto.sync.getRepo", did=account.did)
        await self._send("com.atproto.repo.importRepo", repo, "application/vnd.ipld.car", moved)
        for missing in (await self.ask("com.atproto.repo.listMissingBlobs", by=moved))["blobs"]:
            await self.upload(
                moved, await old.download("com.atproto.sync.getBlob", did=account.did, cid=missing["cid"])
            )
        wanted = await self.ask("com.atproto.identity.getRecommendedDidCredentials", by=moved)
        signed = await old.sign_identity(account, **wanted)
        await self.act("com.atproto.identity.submitPlcOperation", {"operation": signed}, by=moved)
        await self.activate(moved)
        await old.deactivate(account)
        account.token = moved.token

    # --- records and blobs ----------------------------------------------------------------------------------

    async def upload(self, account: Account, content: bytes, mime: str = "*/*") -> Record:
        """The reference for a record, with the type that the PDS found by itself."""
        blob: Record = (await self._send("com.atproto.repo.uploadBlob", content, mime, account))["blob"]
        return blob

    async def download(self, nsid: str, **params: str) -> bytes:
        answer = await self._client.get(f"/xrpc/{nsid}", params=params)
        assert answer.status_code == 200, answer.text[:500]
        return answer.content

    @contextmanager
    def without_blob(self, account: Account, cid: str) -> Iterator[None]:
        """The disk fails: records go on naming what is not there."""
        (path,) = (self._folder / "blobs" / account.did).glob(cid)
        away = path.rename(self._folder / cid)
        try:
            yield
        finally:
            away.rename(path)

    async def _send(self, nsid: str, content: bytes, mime: str, by: Account) -> Record:
        headers = _sign(by) | {"Content-Type": mime}
        return _read(nsid, await self._client.post(f"/xrpc/{nsid}", content=content, headers=headers))

    async def create(self, account: Account, collection: str, record: Record, rkey: str | None = None) -> AtUri:
        body = {"repo": account.did, "collection": collection, "record": {"$type": collection, **record}}
        if rkey:
            body["rkey"] = rkey
        return AtUri.parse((await self.act("com.atproto.repo.createRecord", body, by=account))["uri"])

    async def put(self, account: Account, uri: AtUri, record: Record) -> None:
        body = {"repo": account.did, "collection": uri.collection, "rkey": uri.rkey, "record": record}
        await self.act("com.atproto.repo.putRecord", body, by=account)

    async def delete(self, account: Account, uri: AtUri) -> None:
        body = {"repo": account.did, "collection": uri.collection, "rkey": uri.rkey}
        await self.act("com.atproto.repo.deleteRecord", body, by=account)

    async def apply_writes(self, account: Account, writes: Sequence[Record]) -> list[Record]:
        """Several operations in one commit; `writes` without the lexicon's long type prefix."""
        kinds = "com.atproto.repo.applyWrites#"
        body = {"repo": account.did, "writes": [{**write, "$type": kinds + write["$type"]} for write in writes]}
        results: list[Record] = (await self.act("com.atproto.repo.applyWrites", body, by=account))["results"]
        return results

    async def get(self, uri: AtUri) -> Record:
        """`uri`, `cid` and `value` of a record."""
        return await self.ask("com.atproto.repo.getRecord", repo=uri.did, collection=uri.collection, rkey=uri.rkey)

    # --- the operator ---------------------------------------------------------------------------------------

    async def take_down(self, account: Account, *, undo: bool = False) -> None:
        await self._moderate({"$type": "com.atproto.admin.defs#repoRef", "did": account.did}, undo=undo)

    async def take_down_blob(self, account: Account, cid: str, *, undo: bool = False) -> None:
        """Says nothing on the stream."""
        await self._moderate({"$type": "com.atproto.admin.defs#repoBlobRef", "did": account.did, "cid": cid}, undo=undo)

    async def _moderate(self, subject: Record, *, undo: bool) -> None:
        body = {"subject": subject, "takedown": {"applied": not undo, "ref": "test"}}
        _read(ADMIN, await self._client.post(f"/xrpc/{ADMIN}", json=body, auth=("admin", self._admin)))


def _sign(by: Account | None) -> dict[str, str]:
    return {"Authorization": f"Bearer {by.token}"} if by else {}


def _read(nsid: str, answer: httpx.Response) -> Record:
    assert answer.status_code == 200, f"{nsid}: {answer.status_code} {answer.text[:500]}"
    read: Record = orjson.loads(answer.content) if answer.content else {}
    return read
