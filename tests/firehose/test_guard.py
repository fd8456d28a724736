"""Which addresses a stranger may make us call (P205, P206)."""

from __future__ import annotations

import asyncio
import threading

import pytest

from core.errors import Unreachable, UnsafeHost
from firehose.guard import Guard, check_host, check_url, is_loopback_host, is_public
from firehose.resolver import MAX_LOOK_UPS, SystemResolver

PRIVATE = [
    *("0.0.0.0", "0.1.2.3", "10.0.0.1", "100.64.0.1", "127.0.0.1", "127.255.255.254", "169.254.169.254", "172.16.0.1"),
    *("172.31.255.255", "192.0.0.1", "192.0.2.1", "192.88.99.1", "192.168.0.1", "198.18.0.1", "198.51.100.1"),
    *("203.0.113.1", "224.0.0.1", "239.1.1.1", "240.0.0.1", "255.255.255.255", "::", "::1", "fc00::1", "fd12::1"),
    *("fe80::1", "fe80::1%eth0", "ff02::1", "2001:db8::1", "2001::1", "2001:10::1", "2002:7f00:1::", "2002:808:808::"),
    *("3fff::1", "::ffff:127.0.0.1", "::ffff:10.0.0.1", "64:ff9b::7f00:1", "64:ff9b::a00:1", "64:ff9b:1::1", "100::1"),
    *("4000::1", "5f00::1", "::8.8.8.8", "", "example.com", "8.8.8.8 ", "08.8.8.8"),
]
PUBLIC = ["8.8.8.8", "1.1.1.1", "2606:4700:4700::1111", "2a00:1450::1", "::ffff:8.8.8.8", "64:ff9b::808:808"]


@pytest.mark.parametrize("address", PRIVATE)
def test_P206_addresses_that_are_not_global_unicast(address: str) -> None:
    assert not is_public(address)


@pytest.mark.parametrize("address", PUBLIC)
def test_P206_addresses_that_are(address: str) -> None:
    assert is_public(address)


UNSAFE_HOSTS = [
    *("localhost", "a.localhost", "printer.local", "x.test", "x.example", "x.invalid", "x.internal", "x.onion"),
    *("x.arpa", "x.alt", "intranet", "", ".", "a..b", ".com", "com.", "example.com.", "-a.com", "a-.com", "a_b.com"),
    *("127.0.0.1", "127.1", "2130706433", "0x7f.1", "0x7f000001", "017700000001", "8.8.8.8", "1.2.3.0x4", "::1"),
    *("[::1]", "exa mple.com", "exämple.com", "a.com\n", "a.com/", "user@a.com", "a" * 64 + ".com", "a." * 130 + "com"),
    *("%6cocalhost", "a.com%00", "a.com#b", "a.com?b", "a.com:80"),
]


@pytest.mark.parametrize("host", UNSAFE_HOSTS)
def test_P206_hosts_that_are_refused_without_asking(host: str) -> None:
    with pytest.raises(UnsafeHost):
        check_host(host)


def test_enough_hosts_are_tried() -> None:
    assert len(UNSAFE_HOSTS) >= 40


@pytest.mark.parametrize(
    "host", ["example.com", "PDS.Example.COM", "a.b.c.d.museum", "xn--bcher-kva.example.com", "1.fm"]
)
def test_hosts_that_pass(host: str) -> None:
    assert check_host(host) == host.lower()


@pytest.mark.parametrize(
    "url",
    [
        "http://pds.example.com/",
        "https://pds.example.com:8443/",
        "https://user@pds.example.com/",
        "https://user:secret@pds.example.com/",
        "https://@pds.example.com/",
        "https:///path",
        "//pds.example.com/",
        "ftp://pds.example.com/",
        "gopher://pds.example.com/",
        "https://pds.example.com\\@127.0.0.1/",
        "https://127.0.0.1/",
        "https://[::1]/",
        "https://[::ffff:127.0.0.1]/",
        "https://localhost/",
        "https://pds.example.com:99999/",
        "https://pds.example.com:/x y",
        "https://pds.example.com/\r\nHost: evil",
        "https://pds.exämple.com/",
        "https://[bad/",
        "https://" + "a" * 5000 + ".com/",
    ],
)
def test_P206_urls_that_are_refused(url: str) -> None:
    with pytest.raises(UnsafeHost):
        check_url(url)


def test_urls_that_pass() -> None:
    assert check_url("https://pds.example.com/a?b=c").host == "pds.example.com"
    assert check_url("https://pds.example.com:443").port == 443


@pytest.mark.parametrize(
    "url", ["http://127.0.0.1:8080/x", "http://localhost:1", "http://[::1]:5/", "https://localhost/"]
)
def test_loopback_only_when_allowed(url: str) -> None:
    with pytest.raises(UnsafeHost):
        check_url(url)
    assert is_loopback_host(check_url(url, allow_loopback=True).host)


@pytest.mark.parametrize(
    "url", ["http://10.0.0.1/", "http://169.254.169.254/", "http://pds.example.com/", "http://127.0.0.2/"]
)
def test_allowing_loopback_opens_nothing_else(url: str) -> None:
    with pytest.raises(UnsafeHost):
        check_url(url, allow_loopback=True)


class Scripted:
    """A resolver that answers differently each time: DNS rebinding."""

    def __init__(self, *answers: list[str]) -> None:
        self.answers = list(answers)
        self.asked = 0

    async def addresses(self, host: str) -> list[str]:
        self.asked += 1
        return self.answers.pop(0)


async def test_P206_every_address_of_a_host_must_be_public() -> None:
    with pytest.raises(UnsafeHost, match=r"10\.0\.0\.1"):
        await Guard(resolver=Scripted(["8.8.8.8", "10.0.0.1"])).addresses("pds.example.com")


async def test_addresses_come_once_each_ipv4_first() -> None:
    guard = Guard(resolver=Scripted(["2606:4700:4700::1111", "8.8.8.8", "8.8.8.8"]))
    assert await guard.addresses("pds.example.com") == ["8.8.8.8", "2606:4700:4700::1111"]


async def test_a_name_that_means_loopback_is_refused_even_when_loopback_is_allowed() -> None:
    guard = Guard(allow_loopback=True, resolver=Scripted(["127.0.0.1"], ["8.8.8.8"]))
    with pytest.raises(UnsafeHost):
        await guard.addresses("pds.example.com")
    with pytest.raises(UnsafeHost):
        await guard.addresses("localhost")


async def test_no_address_and_no_answer_are_transient() -> None:
    with pytest.raises(Unreachable):
        await Guard(resolver=Scripted([])).addresses("pds.example.com")

    class Broken:
        async def addresses(self, host: str) -> list[str]:
            raise OSError("no such name")

    with pytest.raises(Unreachable, match="no such name"):
        await Guard(resolver=Broken()).addresses("pds.example.com")


async def test_the_system_resolver_knows_the_loopback() -> None:
    assert "127.0.0.1" in await SystemResolver().addresses("127.0.0.1")


async def test_slow_names_hold_nobody_up_and_are_bounded() -> None:
    """Abandoned look-ups starve neither the loop's own threads nor each other without bound."""
    released = threading.Event()

    def slow(host: str, *_: object, **__: object) -> list[object]:
        released.wait(20)
        return [(0, 0, 0, "", ("192.0.2.1", 0))]

    resolver = SystemResolver(slow)
    waiting = [asyncio.create_task(resolver.addresses(f"slow{n}.example.com")) for n in range(MAX_LOOK_UPS)]
    await asyncio.sleep(0)
    with pytest.raises(OSError, match="already"):
        await resolver.addresses("one.too.many")
    assert await asyncio.wait_for(asyncio.to_thread(lambda: 1), 5) == 1
    for one in waiting[1:]:
        one.cancel()
    released.set()
    assert await asyncio.wait_for(waiting[0], 5) == ["192.0.2.1"]
    await asyncio.gather(*waiting, return_exceptions=True)
    for _ in range(100):
        if not resolver._under_way:
            break
        await asyncio.sleep(0.02)
    assert resolver._under_way == 0
