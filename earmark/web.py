"""XRPC methods mounted on aiohttp, with the service's other pages. The only place that knows HTTP servers.

Answers follow P192-P203: JSON errors without details, CORS everywhere, HEAD wherever GET, health, DID document.
"""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Awaitable, Callable, Iterable, Mapping
from typing import Any

import orjson
from aiohttp import WSCloseCode, web

from core.errors import AppError, XrpcError
from core.log import Log
from core.metrics import Metrics
from core.types import parse_nsid
from core.xrpc import Call, Method, Procedure, Query, Subscription, decode_params, error_frame

MAX_BODY_BYTES = 100 * 1024  # P196
PING_SECONDS = 25.0  # P77
MAX_SUBSCRIBERS = 1200  # each costs a descriptor and a cursor (P79)
STALLED_SECONDS = 30.0  # a subscriber that accepts nothing for so long is cut off (P76)
ANSWER_SECONDS = 8.0  # the AppView gives up after 10 s (P112)

CORS = {
    "Access-Control-Allow-Origin": "*",
    "Access-Control-Allow-Methods": "GET, HEAD, POST, OPTIONS",
    "Access-Control-Allow-Headers": "Authorization, Content-Type, atproto-accept-labelers",
    "Access-Control-Expose-Headers": "RateLimit-Limit, RateLimit-Remaining, RateLimit-Reset, Retry-After, "
    "atproto-content-labelers",
    "Access-Control-Max-Age": "86400",
}

Page = Callable[[web.Request], Awaitable[web.StreamResponse]]


def json_answer(value: Mapping[str, Any] | bytes, *, status: int = 200, **headers: str) -> web.Response:
    """A JSON response; bytes are sent as they are."""
    body = value if isinstance(value, bytes) else orjson.dumps(value)
    return web.Response(body=body, status=status, content_type="application/json", headers=headers)


class TooManySubscribers(XrpcError):
    """No place for another subscription (P79)."""

    def __init__(self) -> None:
        super().__init__("RateLimitExceeded", "too many open subscriptions; come back later", status=429)


class Web:
    """Mounts methods and pages on one aiohttp application."""

    def __init__(
        self,
        *,
        methods: Iterable[Method],
        pages: Mapping[str, Page],
        healthy: Callable[[], Awaitable[None]],
        version: str,
        metrics: Metrics,
        log: Log,
    ) -> None:
        self._methods = {method.nsid: method for method in methods}
        self._healthy = healthy
        self._version = version
        self._metrics = metrics
        self._log = log
        self._sockets: set[web.WebSocketResponse] = set()
        self._closing = False
        self.app = web.Application(middlewares=[self._answer_errors], client_max_size=MAX_BODY_BYTES)
        self.app.router.add_get("/xrpc/_health", self._health)
        for suffix in ("", "/"):  # an optional trailing slash is tolerated (P193)
            self.app.router.add_route("*", "/xrpc/{nsid}" + suffix, self._xrpc)
        self.app.router.add_get("/metrics", self._metrics_page)
        self.app.router.add_get("/robots.txt", self._robots)
        for path, page in pages.items():
            self.app.router.add_get(path, page)

    # --- every answer ---------------------------------------------------------------------------------------

    @web.middleware
    async def _answer_errors(self, request: web.Request, handler: Page) -> web.StreamResponse:
        try:
            response = web.Response(status=204) if request.method == "OPTIONS" else await handler(request)
        except XrpcError as error:
            headers = {401: {"WWW-Authenticate": "Bearer"}, 429: {"Retry-After": "60"}}.get(error.status, {})
            response = json_answer({"error": error.name, "message": error.message}, status=error.status, **headers)
        except web.HTTPRequestEntityTooLarge:
            response = json_answer(
                {"error": "PayloadTooLarge", "message": f"a body may have {MAX_BODY_BYTES} bytes"}, status=413
            )
        except web.HTTPException as error:
            name = "NotFound" if error.status == 404 else "InvalidRequest"
            allow = {"Allow": error.headers["Allow"]} if "Allow" in error.headers else {}
            response = json_answer({"error": name, "message": error.reason}, status=error.status, **allow)
        except TimeoutError:
            response = json_answer({"error": "UpstreamTimeout", "message": "took too long; try again"}, status=503)
        except AppError as error:
            self._log.warning("request failed", path=request.path, error=error)
            response = json_answer({"error": "ServiceUnavailable", "message": "try again"}, status=503)
        except Exception:  # a bug: the reader learns nothing of it, the log everything
            self._log.exception("bug while answering", path=request.path)
            response = json_answer({"error": "InternalServerError", "message": "our fault, logged"}, status=500)
        if not response.prepared:
            response.headers.update(CORS)
            self._count(request, response.status)
        return response

    def _count(self, request: web.Request, status: int) -> None:
        """Only methods that exist become label values: their number is ours, not a stranger's."""
        nsid = request.match_info.get("nsid", "")
        if nsid in self._methods:
            self._metrics.requests.labels(nsid, str(status)).inc()

    # --- XRPC -----------------------------------------------------------------------------------------------

    async def _xrpc(self, request: web.Request) -> web.StreamResponse:
        nsid = request.match_info["nsid"]
        method = self._methods.get(nsid)
        if method is None:
            try:
                parse_nsid(nsid)
            except ValueError:
                raise XrpcError("InvalidRequest", "the path holds no method name") from None
            raise XrpcError("MethodNotImplemented", "no such method here", status=501)
        if isinstance(method, Subscription):
            return await self._subscribe(request, method)
        return await self._answer(request, method)

    async def _answer(self, request: web.Request, method: Query | Procedure) -> web.Response:
        verbs = ("POST",) if isinstance(method, Procedure) else ("GET", "HEAD")
        if request.method not in verbs:
            raise XrpcError("InvalidRequest", f"{method.nsid} takes {verbs[0]}", status=405)
        params = decode_params(method.params, request.query.items())
        body = await self._body(request) if isinstance(method, Procedure) else self._no_body(request)
        async with asyncio.timeout(ANSWER_SECONDS):
            return json_answer(await method.answer(Call(params, _headers(request), body)))

    @staticmethod
    def _no_body(request: web.Request) -> None:
        if request.content_length:
            raise XrpcError("InvalidRequest", "this method takes no body")

    @staticmethod
    async def _body(request: web.Request) -> Any:
        if request.content_type != "application/json":
            raise XrpcError("InvalidRequest", "send a JSON body with Content-Type: application/json")
        try:
            return orjson.loads(await request.read())
        except orjson.JSONDecodeError:
            raise XrpcError("InvalidRequest", "the body is not JSON") from None

    async def _subscribe(self, request: web.Request, method: Subscription) -> web.StreamResponse:
        """Sends the method's frames as the reader takes them; there is no queue between log and socket."""
        if request.method != "GET":
            raise XrpcError("InvalidRequest", f"{method.nsid} takes GET", status=405)
        if len(self._sockets) >= MAX_SUBSCRIBERS:
            raise TooManySubscribers
        socket = web.WebSocketResponse(heartbeat=PING_SECONDS, compress=False, max_msg_size=4096, timeout=5.0)
        if not socket.can_prepare(request):
            raise XrpcError("InvalidRequest", "a subscription needs a WebSocket upgrade", status=426)
        socket.headers.update(CORS)
        await socket.prepare(request)
        self._sockets.add(socket)
        self._metrics.subscribers.inc()
        writer = asyncio.create_task(self._send_frames(socket, request, method))
        try:
            async for _ in socket:  # what a reader says is ignored (P77); the loop ends when it goes away
                pass
        finally:
            writer.cancel()
            with contextlib.suppress(asyncio.CancelledError):
                await writer
            self._sockets.discard(socket)
            self._metrics.subscribers.dec()
        return socket

    async def _send_frames(self, socket: web.WebSocketResponse, request: web.Request, method: Subscription) -> None:
        try:
            params = decode_params(method.params, request.query.items())
            async for frame in method.frames(Call(params, _headers(request))):
                async with asyncio.timeout(STALLED_SECONDS):
                    await socket.send_bytes(frame)
        except XrpcError as error:
            await self._refuse(socket, error.name, error.message)
        except TimeoutError:
            self._metrics.slow_subscribers.inc()
            await self._refuse(socket, "ConsumerTooSlow", f"no bytes accepted for {STALLED_SECONDS:.0f} s")
        except ConnectionError:
            pass  # the reader went away
        except Exception:
            self._log.exception("bug in a subscription", method=method.nsid)
            await self._refuse(socket, "InternalServerError", "our fault, logged")

    @staticmethod
    async def _refuse(socket: web.WebSocketResponse, name: str, message: str) -> None:
        """Error frame, then close; a peer that takes not even this is dropped (P71, P76)."""
        with contextlib.suppress(TimeoutError, ConnectionError):
            async with asyncio.timeout(2.0):
                await socket.send_bytes(error_frame(name, message))
                await socket.close(code=WSCloseCode.POLICY_VIOLATION, message=name.encode())

    async def close_sockets(self) -> None:
        """Tells every subscriber to come back with its cursor (P81)."""
        closing = [socket.close(code=WSCloseCode.GOING_AWAY, message=b"restarting") for socket in list(self._sockets)]
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(3.0):
                await asyncio.gather(*closing, return_exceptions=True)

    # --- small pages ----------------------------------------------------------------------------------------

    async def _health(self, _: web.Request) -> web.Response:
        try:
            async with asyncio.timeout(2.0):
                await self._healthy()
        except (AppError, TimeoutError) as error:
            return json_answer({"version": self._version, "error": type(error).__name__}, status=503)
        return json_answer({"version": self._version})

    async def _metrics_page(self, _: web.Request) -> web.Response:
        return web.Response(body=self._metrics.text(), headers={"Content-Type": "text/plain; version=0.0.4"})

    async def _robots(self, _: web.Request) -> web.Response:
        return web.Response(text="User-agent: *\nAllow: /\n")


def _headers(request: web.Request) -> dict[str, str]:
    return {name.lower(): value for name, value in request.headers.items()}
