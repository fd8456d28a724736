"""A whole ATProto network in one process: a TEST network, on loopback and nowhere else.

One server is directory, PDS, firehose, Jetstream stand-in and plyr's visibility answer. Commits, signatures,
trees and CIDs are real; identities are made up, there is no login, and whoever runs the process may write
to every repository. It therefore refuses to listen anywhere but on the machine itself.
"""

from __future__ import annotations

import ipaddress
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Literal, Self

from aiohttp import web

from core.clock import Clock, SystemClock, TidClock
from core.errors import Misconfigured
from core.keys import PublicKey
from core.types import AtUri, Cid, Tid, parse_nsid
from earmark.demo.account import Blob, DemoAccount, derive_did, derive_key
from earmark.demo.car import write_car
from earmark.demo.log import EventLog
from earmark.demo.pds import Answers
from earmark.demo.repo import Commit, Repo, Write
from earmark.demo.streams import Streams
from earmark.demo.world import Switches, VisibilityWord, World

Record = dict[str, Any]
AccountStatus = Literal["takendown", "suspended", "deactivated", "deleted"]


class Network:
    """Start it, write to it with the methods below (all from the event loop that serves it), stop it."""

    def __init__(
        self,
        *,
        host: str = "127.0.0.1",
        port: int = 0,
        seed: str = "earmark demo",
        clock: Clock | None = None,
        zstd_dictionary: bytes | None = None,
    ) -> None:
        """`port` 0: a free one; the same `seed`: the same DIDs; Jetstreams compress with the dictionary."""
        if not ipaddress.ip_address(host).is_loopback:
            raise Misconfigured("demo.host", f"the test network listens on loopback only, not on {host}")
        self._host, self._port, self._seed = host, port, seed
        self._clock = clock or SystemClock()
        self._tids = TidClock(self._clock)
        self._world = World()
        self._log = EventLog(self._clock)
        self._streams = Streams(self._log, zstd_dictionary)
        self._runner: web.AppRunner | None = None

    async def start(self) -> None:
        """Listen. Raises OSError when the port is taken."""
        answers = Answers(self._world)
        app = web.Application(middlewares=[answers.speak_xrpc])
        app.add_routes(
            [
                web.get("/xrpc/com.atproto.sync.subscribeRepos", self._streams.subscribe_repos),
                web.get("/subscribe", self._streams.jetstream_v1),
                web.get("/xrpc/network.bsky.jetstream.subscribeEvents", self._streams.jetstream_v2),
                *answers.routes(),
            ]
        )
        app.on_shutdown.append(lambda _: self._streams.drop_all())
        runner = web.AppRunner(app, access_log=None, shutdown_timeout=2.0)
        await runner.setup()
        self._runner = runner
        await web.TCPSite(runner, self._host, self._port).start()
        port = runner.addresses[0][1]
        self._world.url = f"http://[{self._host}]:{port}" if ":" in self._host else f"http://{self._host}:{port}"

    async def stop(self) -> None:
        """Close all sockets and stop listening. Idempotent."""
        runner, self._runner = self._runner, None
        if runner is not None:
            await runner.cleanup()

    async def __aenter__(self) -> Self:
        await self.start()
        return self

    async def __aexit__(self, *exc: object) -> None:
        await self.stop()

    @property
    def url(self) -> str:
        """Origin of everything; the PLC directory and the PDS are at its root."""
        return self._world.url

    @property
    def stream_url(self) -> str:
        """Origin of both streams, subscribeRepos and Jetstream's `/subscribe`."""
        return self.url.replace("http:", "ws:", 1)

    @property
    def visibility_url(self) -> str:
        """Base of plyr's `/tracks/by-uri`."""
        return f"{self.url}/plyr"

    @property
    def switches(self) -> Switches:
        return self._world.switches

    @property
    def newest_seq(self) -> int:
        return self._log.newest_seq

    @property
    def listeners(self) -> int:
        """Open stream connections."""
        return self._streams.listeners

    @property
    def accounts(self) -> tuple[DemoAccount, ...]:
        return tuple(self._world.accounts.values())

    def create_account(self, handle: str) -> DemoAccount:
        """A new account with an empty repository; says so as a PDS does (#identity, #account, #commit, #sync)."""
        if self._world.find_account(handle) is not None:
            raise ValueError(f"the handle is taken: {handle}")
        key = derive_key(self._seed, handle)
        did = derive_did(key)
        account = DemoAccount(did, handle.lower(), key, Repo(did, key, self._tids))
        self._world.accounts[did] = account
        self._tell_identity(account)
        self._tell_account(account)
        self._tell_commit(account, account.repo.head)
        self._tell_sync(account)
        return account

    def set_services(
        self,
        account: DemoAccount,
        *,
        label_key: PublicKey | None = None,
        labeler: str | None = None,
        feeds: str | None = None,
    ) -> None:
        """Make the account a labeler and feed generator: what its DID document names from now on."""
        account.label_key = label_key
        offered = {"atproto_labeler": ("AtprotoLabeler", labeler), "bsky_fg": ("BskyFeedGenerator", feeds)}
        account.services = {name: (kind, url) for name, (kind, url) in offered.items() if url is not None}
        self._tell_identity(account)

    def upload_blob(self, account: DemoAccount, source: bytes | Path, mime: str) -> Record:
        """Keep the bytes (or the path of a file that stays where it is); returns the reference for a record."""
        blob = Blob.of(source, mime)
        account.blobs[blob.cid] = blob
        return blob.to_ref()

    def new_rkey(self) -> Tid:
        """A record key that no record has yet."""
        return self._tids.next()

    def create_record(self, account: DemoAccount, collection: str, rkey: str | None, record: Record) -> AtUri:
        """One commit with one new record (JSON form); without `rkey` it gets a TID. Raises ValueError if taken."""
        uri = AtUri(account.did, parse_nsid(collection), rkey or self.new_rkey())
        if f"{uri.collection}/{uri.rkey}" in account.repo.records:
            raise ValueError(f"there is a record already: {uri}")
        self.apply_writes(account, [Write(uri.collection, uri.rkey, {"$type": collection, **record})])
        return uri

    def update_record(self, account: DemoAccount, collection: str, rkey: str, record: Record) -> AtUri:
        """Put the record there; identical contents make no event."""
        uri = AtUri(account.did, parse_nsid(collection), rkey)
        self.apply_writes(account, [Write(uri.collection, rkey, {"$type": collection, **record})])
        return uri

    def delete_record(self, account: DemoAccount, collection: str, rkey: str) -> None:
        """Raises KeyError if it is not there."""
        self.apply_writes(account, [Write(parse_nsid(collection), rkey, None)])

    def apply_writes(self, account: DemoAccount, writes: Sequence[Write]) -> Commit | None:
        """All writes in one commit, at most 200 (P137); None if nothing changed."""
        if len(writes) > 200:
            raise ValueError("a commit has at most 200 operations")
        commit = account.repo.apply(writes)
        if commit is not None:
            self._tell_commit(account, commit)
        return commit

    def set_account_status(self, account: DemoAccount, active: bool, status: AccountStatus | None = None) -> None:
        """#account; a return also brings #identity and #sync; a deletion takes earlier events out of the replay."""
        returning = active and not account.active
        account.active, account.status = active, status
        if status == "deleted":
            self._log.purge(account.did)
        self._tell_account(account)
        if returning:
            self._tell_identity(account)
            self._tell_sync(account)

    def set_visibility(self, uri: AtUri | str, word: VisibilityWord) -> None:
        """What plyr says of a track; without it "public", or "supporters" if the record has a gate."""
        self._world.visibility[str(uri)] = word

    def page_url(self, uri: AtUri | str) -> str | None:
        """The page that plyr would have for a track; None for a track that is not there."""
        known = self._world.find_track(str(uri))
        return f"https://plyr.fm/track/{known[0]}" if known else None

    def emit_raw_frame(self, frame: bytes) -> None:
        """Send any bytes to everybody who listens to subscribeRepos now. Never replayed."""
        self._log.add_raw(frame)

    def corrupt_blob(self, cid: str, instead: bytes = b"these are not the bytes") -> None:
        """From now on getBlob serves other bytes under this CID."""
        self._world.corrupted_blobs[Cid(cid)] = instead

    def remove_blob(self, cid: str) -> None:
        """From now on getBlob knows nothing of this CID."""
        self._world.removed_blobs.add(Cid(cid))

    async def drop_listeners(self) -> None:
        """Close all streams, as a server that restarts does."""
        await self._streams.drop_all()

    def _tell_commit(self, account: DemoAccount, commit: Commit) -> None:
        changes: list[tuple[str, dict[str, Any]]] = []
        for op in commit.ops:
            change: dict[str, Any] = {
                "rev": commit.rev,
                "operation": op.action,
                "collection": op.collection,
                "rkey": op.rkey,
            }
            if op.record is not None:
                change |= {"record": op.record.value, "cid": op.record.cid_text}
            changes.append(("commit", change))
        self._log.add("#commit", account.did, commit.to_wire(account.did), changes)

    def _tell_identity(self, account: DemoAccount) -> None:
        body: dict[str, Any] = {"did": account.did, "handle": account.handle}
        self._log.add("#identity", account.did, body, [("identity", {"handle": account.handle})])

    def _tell_account(self, account: DemoAccount) -> None:
        state: dict[str, Any] = {"active": account.active}
        if account.status is not None:
            state["status"] = account.status
        self._log.add("#account", account.did, {"did": account.did, **state}, [("account", state)])

    def _tell_sync(self, account: DemoAccount) -> None:
        head = account.repo.head
        car = write_car(head.cid, {head.cid: head.block})
        state = {"rev": head.rev, "blocks": car}
        self._log.add("#sync", account.did, {"did": account.did, **state}, [("sync", state)])
