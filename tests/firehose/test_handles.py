"""Handles are believed when they lead back to the account, and are never more than shown (P208, P209, P211)."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from typing import Any

import dns.asyncresolver
import dns.flags
import dns.message
import dns.rcode
import dns.rrset
import pytest

from core.errors import Unreachable, UnsafeHost
from core.ports import HttpAnswer, Identity
from core.types import Did
from firehose.handles import Ambiguous, Handles

DID, OTHER = Did("did:plc:" + "a" * 24), Did("did:plc:" + "b" * 24)


class NameServer(asyncio.DatagramProtocol):
    """A real one, on loopback: `zone` says what it answers, a name that it does not have does not exist."""

    def __init__(self) -> None:
        self.zone: dict[str, list[str]] = {}
        self.asked: list[str] = []
        self.broken = False

    def connection_made(self, transport: Any) -> None:
        self.transport = transport

    def datagram_received(self, data: bytes, peer: Any) -> None:
        query = dns.message.from_wire(data)
        name = query.question[0].name
        self.asked.append(name.to_text(omit_final_dot=True))
        answer = dns.message.make_response(query)
        answer.flags |= dns.flags.RA
        if self.broken:
            answer.set_rcode(dns.rcode.SERVFAIL)
        elif texts := self.zone.get(self.asked[-1]):
            quoted = [" ".join(f'"{part}"' for part in text.split("\0")) for text in texts]
            answer.answer.append(dns.rrset.from_text(name, 60, "IN", "TXT", *quoted))
        else:
            answer.set_rcode(dns.rcode.NXDOMAIN)
        self.transport.sendto(answer.to_wire(), peer)


class Web:
    """What hosts answer, as the safe client hands it over; a host that is not there is unreachable."""

    def __init__(self) -> None:
        self.pages: dict[str, tuple[int, bytes]] = {}
        self.asked: list[str] = []

    async def get(self, url: str, **limits: Any) -> HttpAnswer:
        self.asked.append(url)
        await asyncio.sleep(0)
        if url not in self.pages:
            raise Unreachable(url)
        status, body = self.pages[url]
        return HttpAnswer(status, {}, body, url)


class Hands:
    seconds = 0.0

    def monotonic(self) -> float:
        return self.seconds

    def now_us(self) -> int:
        return round(self.seconds * 1e6)

    def random(self) -> float:
        return 0.5


class Place:
    def __init__(self, kit: Any, names: NameServer, resolver: dns.asyncresolver.Resolver) -> None:
        self.names, self.web, self.clock = names, Web(), Hands()
        self.directory = kit.KnownIdentities(Identity(DID, handle_claim="artist.example.com"))
        self.handles = Handles(self.web, self.directory, clock=self.clock, resolver=resolver, capacity=3)


@pytest.fixture
async def place(kit: Any) -> AsyncIterator[Place]:
    loop = asyncio.get_running_loop()
    transport, names = await loop.create_datagram_endpoint(NameServer, local_addr=("127.0.0.1", 0))
    resolver = dns.asyncresolver.Resolver(configure=False)
    resolver.nameservers, resolver.port = ["127.0.0.1"], transport.get_extra_info("sockname")[1]
    yield Place(kit, names, resolver)
    transport.close()


TXT = "_atproto.artist.example.com"
PAGE = "https://artist.example.com/.well-known/atproto-did"


async def test_P209_a_txt_record_names_the_account(place: Place) -> None:
    place.names.zone[TXT] = ["v=spf1 -all", "did=", "did=nonsense", f"did={DID[:9]}\0{DID[9:]}", f"did={DID}"]
    assert await place.handles.of(DID) == "artist.example.com"
    assert (place.names.asked, place.web.asked) == ([TXT], [])


@pytest.mark.parametrize("body", [DID.encode(), b"  %s\r\n" % DID.encode()])
async def test_P209_else_a_page_of_the_handles_own_host_does(place: Place, body: bytes) -> None:
    place.web.pages[PAGE] = (200, body)
    assert await place.handles.of(DID) == "artist.example.com"


@pytest.mark.parametrize(
    ("status", "body"), [(404, DID.encode()), (302, DID.encode()), (200, b""), (200, b"\xff\xfe"), (200, b"<html>")]
)
async def test_P209_other_answers_name_nobody(place: Place, status: int, body: bytes) -> None:
    place.web.pages[PAGE] = (status, body)
    assert await place.handles.resolve("artist.example.com") is None
    assert await place.handles.of(DID) is None


async def test_P209_two_accounts_in_dns_are_none_whatever_the_host_says(place: Place) -> None:
    place.names.zone[TXT] = [f"did={DID}", f"did={OTHER}"]
    place.web.pages[PAGE] = (200, DID.encode())
    with pytest.raises(Ambiguous):
        await place.handles.resolve("artist.example.com")
    assert await place.handles.of(DID) is None


async def test_P208_a_handle_that_leads_elsewhere_is_not_shown(place: Place) -> None:
    place.names.zone[TXT] = [f"did={OTHER}"]
    assert await place.handles.resolve("Artist.Example.COM") == OTHER
    assert await place.handles.of(DID) is None


@pytest.mark.parametrize(
    "handle", ["artist.test", "artist.local", "a.internal", "localhost", "127.0.0.1", "8.8.8.8", "a..b", "x" * 300, ""]
)
async def test_P209_names_that_cannot_be_public_are_asked_of_nobody(place: Place, handle: str) -> None:
    with pytest.raises(UnsafeHost):
        await place.handles.resolve(handle)
    place.directory.known[DID] = Identity(DID, handle_claim=handle)
    assert await place.handles.of(DID) is None
    assert (place.names.asked, place.web.asked) == ([], [])


async def test_P209_a_broken_name_server_leaves_the_host_to_be_asked(place: Place) -> None:
    place.names.broken = True
    place.web.pages[PAGE] = (200, DID.encode())
    assert await place.handles.of(DID) == "artist.example.com"


async def test_who_has_no_document_or_no_claim_has_no_handle(place: Place) -> None:
    assert await place.handles.of(OTHER) is None
    place.directory.known[DID] = Identity(DID)
    assert await place.handles.of(DID) is None
    assert place.names.asked == []


async def test_P210_answers_are_kept_an_hour_and_refusals_a_minute(place: Place) -> None:
    place.names.zone[TXT] = [f"did={DID}"]
    for seconds, asked in ((0, 1), (3599, 1), (3601, 2)):
        place.clock.seconds = seconds
        assert await place.handles.of(DID) == "artist.example.com"
        assert len(place.names.asked) == asked
    place.names.zone[TXT] = [f"did={OTHER}"]
    for seconds, asked in ((7202, 3), (7261, 3), (7263, 4)):
        place.clock.seconds = seconds
        assert await place.handles.of(DID) is None
        assert len(place.names.asked) == asked


async def test_P154_P210_a_changed_document_is_verified_anew(place: Place) -> None:
    place.names.zone[TXT] = [f"did={DID}"]
    assert await place.handles.of(DID) == "artist.example.com"
    place.directory.known[DID] = Identity(DID, handle_claim="new.example.com")
    assert await place.handles.of(DID) is None
    place.names.zone["_atproto.new.example.com"] = [f"did={DID}"]
    place.clock.seconds = 61
    assert await place.handles.of(DID) == "new.example.com"


async def test_P210_while_nobody_answers_what_was_verified_stands_for_a_day(place: Place) -> None:
    place.names.zone[TXT] = [f"did={DID}"]
    assert await place.handles.of(DID) == "artist.example.com"
    place.names.broken = True
    for seconds, asked in ((86_330, 2), (86_389, 2), (86_395, 3)):  # and nobody is asked every time
        place.clock.seconds = seconds
        assert await place.handles.of(DID) == "artist.example.com"
        assert len(place.web.asked) == asked - 1
    place.clock.seconds = 86_460
    assert await place.handles.of(DID) is None


async def test_P210_many_who_ask_at_once_ask_once(place: Place) -> None:
    place.names.zone[TXT] = [f"did={DID}"]
    assert set(await asyncio.gather(*(place.handles.of(DID) for _ in range(20)))) == {"artist.example.com"}
    assert len(place.names.asked) == 1


async def test_P210_the_cache_is_bounded(place: Place) -> None:
    dids = [Did("did:plc:" + letter * 24) for letter in "abcdef"]
    for did in dids:
        place.directory.known[did] = Identity(did, handle_claim=f"{did[8]}.example.com")
        place.names.zone[f"_atproto.{did[8]}.example.com"] = [f"did={did}"]
        assert await place.handles.of(did) == f"{did[8]}.example.com"
    for did in (*dids[3:], dids[0]):  # three of six are remembered
        assert await place.handles.of(did) == f"{did[8]}.example.com"
    assert len(place.names.asked) == 7


async def test_a_glance_waits_for_nobody(place: Place) -> None:
    place.names.zone[TXT] = [f"did={DID}"]
    assert [place.handles.known(DID) for _ in range(5)] == [None] * 5
    while place.handles.known(DID) is None:
        await asyncio.sleep(0.01)
    assert place.handles.known(DID) == "artist.example.com"
    assert len(place.names.asked) == 1
