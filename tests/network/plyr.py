"""plyr's answer on who may hear a track: the one party of this network that has no server of its own."""

from __future__ import annotations

from aiohttp import web


class Plyr:
    """Everything is public, at once."""

    def __init__(self) -> None:
        self.url = ""
        self._runner: web.AppRunner | None = None

    async def start(self) -> None:
        app = web.Application()
        app.router.add_get("/tracks/by-uri", self._track)
        self._runner = web.AppRunner(app, access_log=None)
        await self._runner.setup()
        await web.TCPSite(self._runner, "127.0.0.1", 0).start()
        self.url = f"http://127.0.0.1:{self._runner.addresses[0][1]}"

    async def stop(self) -> None:
        if self._runner is not None:
            await self._runner.cleanup()

    async def _track(self, request: web.Request) -> web.Response:
        uri = request.query["uri"]
        return web.json_response({"id": 1, "visibility": "public", "unlisted": False, "atproto_record_uri": uri})
