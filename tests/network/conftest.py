"""The real network, once for all tests, and a service that follows its first PDS from its first event on.

What it needs is installed by `make test-network`; the tests run when they are asked for by their mark (`-m network`).
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Iterator, Sequence
from pathlib import Path

import pytest
import pytest_asyncio

from earmark.demo.show import free_port
from tests.network.artist import Artist
from tests.network.following import Following, running
from tests.network.install import find
from tests.network.pds import Pds
from tests.network.plyr import Plyr
from tests.network.process import NodeServer
from tests.network.world import Samples, World, compose

_HERE = Path(__file__).parent


def pytest_collection_modifyitems(items: Sequence[pytest.Item]) -> None:
    """Everything here shares one event loop with the servers, and runs only when it is asked for."""
    for item in items:
        if item.path.is_relative_to(_HERE):
            item.add_marker(pytest.mark.network)
            item.add_marker(pytest.mark.asyncio(loop_scope="session"), append=False)


@pytest_asyncio.fixture(scope="session", loop_scope="session")
async def world(pack_home: Path, tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[World]:
    installed = find()
    if installed is None:
        pytest.fail("the test network is not installed: run `make test-network`")
    folder, port = tmp_path_factory.mktemp("network"), free_port(0)
    plc, plyr = NodeServer(installed, "plc", str(port)), Plyr()
    plc_url = f"http://localhost:{port}"
    pds = Pds(installed, folder / "pds", free_port(0), plc_url)
    try:
        await asyncio.gather(plc.start(), plyr.start(), pds.server.start())
        yield World(installed, pack_home, folder, plc, plc_url, pds, plyr)
    finally:
        await pds.close()
        await plc.stop()
        await plyr.stop()


@pytest.fixture(scope="session")
def pds(world: World) -> Pds:
    return world.pds


@pytest_asyncio.fixture(scope="session", loop_scope="session")
async def service(world: World) -> AsyncIterator[Following]:
    settings = await world.join(world.pds, "service")
    async with running(settings) as following:
        yield following
        assert list((settings.data / "listening").iterdir()) == [], "audio stays on disk"


@pytest_asyncio.fixture(loop_scope="session")
async def artist(world: World) -> Artist:
    """Somebody new at the first PDS."""
    return await world.sign_up(world.pds)


@pytest.fixture(scope="session")
def _takes() -> Iterator[Samples]:
    piece = compose("dance-floor")
    return (piece * (1 - number / 100) for number in range(90))


@pytest.fixture
def techno(_takes: Iterator[Samples]) -> Samples:
    """Four on the floor, a recording that no other test has: label `electronic`, a place in `dance-floor`."""
    return next(_takes)
