"""P199: how much one client may ask, and who a client is."""

from __future__ import annotations

from typing import Any

import pytest
from multidict import CIMultiDict

from core.sections import Limits as Settings
from earmark import limits
from earmark.limits import LimitReached, Limits


class Clock:
    seconds = 1_000_000_100.0

    def now_us(self) -> int:
        return int(self.seconds * 1_000_000)


class Request:
    """Of a request only these two count."""

    def __init__(self, remote: str, *lines: tuple[str, str]) -> None:
        self.remote = remote
        self.headers = CIMultiDict(lines)


def made(**settings: Any) -> tuple[Limits, Clock]:
    clock = Clock()
    return Limits(Settings(**settings), clock), clock  # type: ignore[arg-type]


def client(limit: Limits, remote: str, **headers: str) -> str | None:
    lines = [(name.replace("_", "-"), value) for name, value in headers.items()]
    return limit.client(Request(remote, *lines))  # type: ignore[arg-type]


def test_p199_headers_tell_what_is_left_and_the_one_too_many_is_refused() -> None:
    limit, clock = made(requests=2, window_seconds=300)
    first = limit.take("198.51.100.1")
    assert first == {
        "RateLimit-Limit": "2",
        "RateLimit-Remaining": "1",
        "RateLimit-Reset": "1000000200",
        "RateLimit-Policy": "2;w=300",
    }
    assert limit.take("198.51.100.1")["RateLimit-Remaining"] == "0"  # type: ignore[index]
    with pytest.raises(LimitReached) as caught:
        limit.take("198.51.100.1")
    assert (caught.value.status, caught.value.name) == (429, "RateLimitExceeded")
    assert (caught.value.headers["Retry-After"], caught.value.headers["RateLimit-Remaining"]) == ("100", "0")
    assert limit.take("198.51.100.2") is not None
    clock.seconds += 100
    assert limit.take("198.51.100.1")["RateLimit-Reset"] == "1000000500"  # type: ignore[index]


def test_a_clock_that_steps_back_locks_nobody_out() -> None:
    limit, clock = made(requests=1, window_seconds=300)
    limit.take("a")
    clock.seconds -= 86_400
    assert limit.take("a") is not None


def test_zero_turns_the_limit_off() -> None:
    limit, _ = made(requests=0)
    assert limit.take("198.51.100.1") is None


@pytest.mark.parametrize("peer", ["127.0.0.1", "::1", "10.1.2.3", "172.18.0.1", "192.168.0.9", "::ffff:10.0.0.1", ""])
def test_our_own_machines_are_not_limited_without_a_header(peer: str) -> None:
    limit, _ = made()
    assert client(limit, peer, X_Forwarded_For="198.51.100.1") is None
    limit, _ = made(client_header="X-Forwarded-For")
    assert client(limit, peer) is None


def test_the_proxys_header_names_the_client_by_its_last_entry() -> None:
    limit, _ = made(client_header="X-Forwarded-For")
    assert client(limit, "10.0.0.1", X_Forwarded_For="203.0.113.9, 198.51.100.1") == "198.51.100.1"
    assert client(limit, "10.0.0.1", X_Forwarded_For="gibberish") == client(limit, "10.0.0.1", X_Forwarded_For="?")


def test_a_proxy_that_adds_a_line_of_its_own_is_believed_and_the_line_before_it_is_not() -> None:
    limit, _ = made(client_header="X-Forwarded-For")
    lines = (("X-Forwarded-For", "203.0.113.9"), ("x-forwarded-for", "198.51.100.1"))
    assert limit.client(Request("10.0.0.1", *lines)) == "198.51.100.1"  # type: ignore[arg-type]


def test_a_stranger_cannot_name_itself() -> None:
    limit, _ = made(client_header="X-Forwarded-For")
    assert client(limit, "93.184.216.34", X_Forwarded_For="198.51.100.1") == "93.184.216.34"


def test_of_ipv6_a_whole_network_is_one_client() -> None:
    limit, _ = made(client_header="X-Real-IP")
    one, two, other = (
        client(limit, "127.0.0.1", X_Real_IP=text)
        for text in ("2600:1:2:3::1", "[2600:1:2:3:ffff::9]", "2600:1:2:4::1")
    )
    assert one == two != other
    assert client(limit, "127.0.0.1", X_Real_IP="::ffff:198.51.100.1") == "198.51.100.1"


def test_many_clients_take_bounded_memory(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(limits, "MAX_CLIENTS", 3)
    limit, _ = made(requests=2)
    for number in range(3):
        limit.take(f"198.51.100.{number}")
        client(limit, f"93.184.216.{number}")
    limit.take("203.0.113.1")
    limit.take("203.0.113.2")
    with pytest.raises(LimitReached):
        limit.take("203.0.113.3")  # all further ones share
    limit.take("198.51.100.1")
    client(limit, "93.184.216.77")
    assert len(limit._window.asked) == 4
    assert len(limit._near) <= 3
