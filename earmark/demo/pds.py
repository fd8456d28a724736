"""What the network answers over plain HTTP: a PLC directory, a PDS, and plyr's visibility question."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Mapping
from pathlib import Path
from typing import Any

import orjson
from aiohttp import web

from core.dagcbor import cid_text
from core.errors import XrpcError
from core.types import Did
from core.xrpc import Param, decode_params
from earmark.demo.account import DemoAccount
from earmark.demo.repo import StoredRecord
from earmark.demo.world import World

_REPO = Param("repo", required=True)
_DID = Param("did", required=True)
_COLLECTION = Param("collection", required=True)
_RKEY = Param("rkey", required=True)
_INACTIVE = {"takendown": "RepoTakendown", "suspended": "RepoSuspended", "deactivated": "RepoDeactivated"}
Handler = Callable[[web.Request], Awaitable[web.StreamResponse]]


class Answers:
    """The handlers, over one world."""

    def __init__(self, world: World) -> None:
        self._world = world

    def routes(self) -> list[web.RouteDef]:
        """Everything but the streams."""
        methods: dict[str, Handler] = {
            "com.atproto.sync.getBlob": self.get_blob,
            "com.atproto.sync.getLatestCommit": self.get_latest_commit,
            "com.atproto.sync.getRecord": self.prove_record,
            "com.atproto.sync.getRepo": self.get_repo,
            "com.atproto.sync.getRepoStatus": self.get_repo_status,
            "com.atproto.sync.listReposByCollection": self.list_repos_by_collection,
            "com.atproto.repo.describeRepo": self.describe_repo,
            "com.atproto.repo.getRecord": self.get_record,
            "com.atproto.repo.listRecords": self.list_records,
            "com.atproto.identity.resolveHandle": self.resolve_handle,
            "com.atproto.server.describeServer": self.describe_server,
            "_health": self.health,
        }
        return [
            *(web.get(f"/xrpc/{nsid}", handler) for nsid, handler in methods.items()),
            web.get("/plyr/tracks/by-uri", self.plyr_track),
            web.get("/{did:did:[^/]+}", self.did_document),
        ]

    @web.middleware
    async def speak_xrpc(self, request: web.Request, handler: Handler) -> web.StreamResponse:
        """Errors as `{error, message}` (P192)."""
        method = request.path.startswith("/xrpc/")
        try:
            if method and self._world.switches.pds_down:
                raise XrpcError("NotAvailable", "the PDS is down", status=502)
            if method:
                await asyncio.sleep(self._world.switches.pds_delay_seconds)
            return await handler(request)
        except XrpcError as error:
            return _json({"error": error.name, "message": error.message}, status=error.status)
        except web.HTTPNotFound:
            if method:
                return _json({"error": "MethodNotImplemented", "message": "Method Not Implemented"}, status=501)
            return _json({"error": "NotFound", "message": "nothing is here"}, status=404)

    async def did_document(self, request: web.Request) -> web.Response:
        """The directory (P205): 404 for who is not here."""
        did = request.match_info["did"]
        if self._world.switches.directory_down:
            return _json({"message": "the directory is down"}, status=502)
        account = self._world.accounts.get(Did(did))
        if account is None:
            return _json({"message": f"DID not registered: {did}"}, status=404)
        return _json(account.to_document(self._world.url))

    async def plyr_track(self, request: web.Request) -> web.Response:
        """Whether the artist wants a track to be found, as plyr answers it (LEXICONS 3.3)."""
        if self._world.switches.visibility_down:
            return _json({"detail": "not now"}, status=502)
        uri = request.query.get("uri", "")
        known = self._world.find_track(uri)
        if known is None:
            return _json({"detail": "track not found"}, status=404)
        number, word = known
        return _json(
            {
                "id": number,
                "visibility": word,
                "unlisted": word == "unlisted",
                "self_labels": [],
                "operator_labels": [],
                "atproto_record_uri": uri,
            }
        )

    async def health(self, request: web.Request) -> web.Response:
        return _json({"version": "earmark-test-network"})

    async def describe_server(self, request: web.Request) -> web.Response:
        host = self._world.url.rpartition(":")[2]
        return _json({"did": f"did:web:localhost%3A{host}", "availableUserDomains": [".test"]})

    async def resolve_handle(self, request: web.Request) -> web.Response:
        handle = decode_params((Param("handle", required=True),), request.query.items())["handle"]
        account = self._world.find_account(handle)
        if account is None or account.handle != handle.lower():
            raise XrpcError("InvalidRequest", "Unable to resolve handle")
        return _json({"did": account.did})

    async def get_blob(self, request: web.Request) -> web.StreamResponse:
        """P181, P186: the whole body whatever Range says; an unknown or unreferenced blob is a 400."""
        query = decode_params((_DID, Param("cid", required=True)), request.query.items())
        account = self._active(query["did"])
        await asyncio.sleep(self._world.switches.blob_delay_seconds)
        blob = account.keeps(query["cid"])
        if blob is None or blob.cid in self._world.removed_blobs:
            raise XrpcError("InvalidRequest", "Blob not found")
        source = self._world.corrupted_blobs.get(blob.cid, blob.source)
        headers = {
            "Content-Type": blob.mime,
            "Content-Security-Policy": "default-src 'none'; sandbox",
            "X-Content-Type-Options": "nosniff",
        }
        if isinstance(source, bytes):
            return web.Response(body=source, headers=headers)
        return await _send_file(request, source, headers)

    async def get_latest_commit(self, request: web.Request) -> web.Response:
        head = self._active(decode_params((_DID,), request.query.items())["did"]).repo.head
        return _json({"cid": cid_text(head.cid), "rev": head.rev})

    async def prove_record(self, request: web.Request) -> web.Response:
        query = decode_params((_DID, _COLLECTION, _RKEY), request.query.items())
        account = self._active(query["did"])
        return _car(account.repo.prove(f"{query['collection']}/{query['rkey']}"))

    async def get_repo(self, request: web.Request) -> web.Response:
        return _car(self._active(decode_params((_DID,), request.query.items())["did"]).repo.export())

    async def get_repo_status(self, request: web.Request) -> web.Response:
        account = self._account(decode_params((_DID,), request.query.items())["did"])
        answer: dict[str, Any] = {"did": account.did, "active": account.active}
        if account.active:
            answer["rev"] = account.repo.head.rev
        elif account.status:
            answer["status"] = account.status
        return _json(answer)

    async def list_repos_by_collection(self, request: web.Request) -> web.Response:
        """As a relay answers it (P175): DIDs only, in order."""
        limit = Param("limit", "integer", default=500, minimum=1, maximum=2000)
        query = decode_params((_COLLECTION, limit, Param("cursor")), request.query.items())
        having = sorted(
            account.did
            for account in self._world.accounts.values()
            if account.active and query["collection"] in _collections(account) and account.did > (query["cursor"] or "")
        )
        page = having[: query["limit"]]
        more = {"cursor": page[-1]} if len(page) < len(having) else {}
        return _json({"repos": [{"did": did} for did in page], **more})

    async def describe_repo(self, request: web.Request) -> web.Response:
        account = self._active(decode_params((_REPO,), request.query.items())["repo"])
        known: dict[str, Any] = {"did": account.did, "handle": account.handle, "handleIsCorrect": True}
        known["didDoc"] = account.to_document(self._world.url)
        return _json(known | {"collections": sorted(_collections(account))})

    async def get_record(self, request: web.Request) -> web.Response:
        query = decode_params((_REPO, _COLLECTION, _RKEY, Param("cid")), request.query.items())
        account = self._active(query["repo"])
        path = f"{query['collection']}/{query['rkey']}"
        record = account.repo.records.get(path)
        if record is None or query["cid"] not in (None, record.cid_text):
            raise XrpcError("RecordNotFound", f"Could not locate record: at://{account.did}/{path}")
        return _json(_listed(account, path, record))

    async def list_records(self, request: web.Request) -> web.Response:
        """Newest record key first, unless `reverse`."""
        query = decode_params(
            (
                _REPO,
                _COLLECTION,
                Param("limit", "integer", default=50, minimum=1, maximum=100),
                Param("cursor"),
                Param("reverse", "boolean", default=False),
            ),
            request.query.items(),
        )
        account = self._active(query["repo"])
        head, reverse, cursor = f"{query['collection']}/", query["reverse"], query["cursor"]
        rkeys = sorted(path.removeprefix(head) for path in account.repo.records if path.startswith(head))
        if cursor is not None:
            rkeys = [rkey for rkey in rkeys if (rkey > cursor if reverse else rkey < cursor)]
        page = (rkeys if reverse else rkeys[::-1])[: query["limit"]]
        answer: dict[str, Any] = {
            "records": [_listed(account, head + rkey, account.repo.records[head + rkey]) for rkey in page]
        }
        if len(page) == query["limit"]:
            answer["cursor"] = page[-1]
        return _json(answer)

    def _account(self, name: str) -> DemoAccount:
        account = self._world.find_account(name)
        if account is None or account.status == "deleted":
            raise XrpcError("RepoNotFound", f"Could not find repo for DID: {name}")
        return account

    def _active(self, name: str) -> DemoAccount:
        """The account if it may be read (P177)."""
        account = self._account(name)
        if not account.active:
            raise XrpcError(_INACTIVE.get(account.status or "", "RepoNotFound"), f"Repo is not available: {name}")
        return account


def _collections(account: DemoAccount) -> set[str]:
    return {path.partition("/")[0] for path in account.repo.records}


def _listed(account: DemoAccount, path: str, record: StoredRecord) -> Mapping[str, Any]:
    return {"uri": str(account.repo.uri(path)), "cid": cid_text(record.cid), "value": record.value}


def _json(body: Mapping[str, Any], *, status: int = 200) -> web.Response:
    return web.Response(body=orjson.dumps(body), status=status, content_type="application/json")


def _car(body: bytes) -> web.Response:
    return web.Response(body=body, content_type="application/vnd.ipld.car")


async def _send_file(request: web.Request, path: Path, headers: Mapping[str, str]) -> web.StreamResponse:
    """A file from the disk in pieces, without the ranges that aiohttp's own file answer would honour."""
    response = web.StreamResponse(headers=headers)
    with path.open("rb") as file:
        response.content_length = path.stat().st_size
        await response.prepare(request)
        while chunk := file.read(256 * 1024):
            await response.write(chunk)
    await response.write_eof()
    return response
