"""XRPC methods mounted on aiohttp, with the service's other pages. The only place that knows HTTP servers.

Answers follow P192-P203: JSON errors without details, CORS everywhere, HEAD wherever GET, health, DID document.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable, Iterable, Mapping
from contextlib import suppress
from functools import partial
from typing import Any

import orjson
from aiohttp import web
from prometheus_client import Counter

from core.errors import AppError, XrpcError
from core.log import Log
from core.metrics import Metrics
from core.types import parse_nsid
from core.xrpc import Call, Method, Procedure, Query, Subscription, decode_params
from earmark.limits import LimitReached, Limits
from earmark.subscriptions import Subscriptions, allow_descriptors

MAX_BODY_BYTES = 100 * 1024  # P196
ANSWER_SECONDS = 8.0  # the AppView gives up after 10 s (P112)

CORS = {
    "Access-Control-Allow-Origin": "*",
    "Access-Control-Expose-Headers": "RateLimit-Limit, RateLimit-Remaining, RateLimit-Reset, RateLimit-Policy, "
    "Retry-After, atproto-content-labelers",
}
_PREFLIGHT = {  # what a browser asks before the request (P197)
    **CORS,
    "Access-Control-Allow-Methods": "GET, HEAD, POST, OPTIONS",
    "Access-Control-Allow-Headers": "Authorization, Content-Type, atproto-accept-labelers",
    "Access-Control-Max-Age": "86400",
}

_JSON_HEADERS = {**CORS, "Content-Type": "application/json; charset=utf-8"}  # made once: every answer has them

Page = Callable[[web.Request], Awaitable[web.StreamResponse]]


def json_answer(value: Mapping[str, Any] | bytes, *, status: int = 200, **headers: str) -> web.Response:
    """A JSON response; bytes are sent as they are."""
    body = value if isinstance(value, bytes) else orjson.dumps(value)
    everything = {**_JSON_HEADERS, **headers} if headers else _JSON_HEADERS
    return web.Response(body=body, status=status, headers=everything)


class Web:
    """Mounts methods and pages on one aiohttp application."""

    def __init__(
        self,
        *,
        methods: Iterable[Method],
        pages: Mapping[str, Page],
        healthy: Callable[[], Awaitable[None]],
        version: str,
        limits: Limits,
        metrics: Metrics,
        log: Log,
    ) -> None:
        self._methods = {method.nsid: method for method in methods}
        self._healthy = healthy
        self._version = version
        self._metrics = metrics
        self._log = log
        self._limits = limits
        self.subscriptions = Subscriptions(metrics=metrics, log=log)
        self._counters: dict[tuple[str, int], Counter] = {}
        self.app = web.Application(middlewares=[self._answer_errors], client_max_size=MAX_BODY_BYTES)
        self.app.cleanup_ctx.append(self._keep_alive)
        self.app.router.add_get("/xrpc/_health", self._health)
        for method in self._methods.values():  # fixed paths are found at once
            self.app.router.add_route("*", f"/xrpc/{method.nsid}", partial(self._call, method))
        for suffix in ("", "/"):  # an optional trailing slash is tolerated (P193)
            self.app.router.add_route("*", "/xrpc/{nsid}" + suffix, self._xrpc)
        self.app.router.add_get("/metrics", self._metrics_page)
        self.app.router.add_get("/robots.txt", self._robots)
        for path, page in pages.items():
            self.app.router.add_get(path, page)

    async def _keep_alive(self, _: web.Application) -> AsyncIterator[None]:
        allow_descriptors()
        pinging = asyncio.create_task(self.subscriptions.keep_alive())
        yield
        pinging.cancel()
        with suppress(asyncio.CancelledError):
            await pinging

    # --- every answer ---------------------------------------------------------------------------------------

    @web.middleware
    async def _answer_errors(self, request: web.Request, handler: Page) -> web.StreamResponse:
        allowance: Mapping[str, str] | None = None
        try:
            if request.method == "OPTIONS":
                response: web.StreamResponse = web.Response(status=204, headers=_PREFLIGHT)
            else:
                allowance = self._limits.take(self._limits.client(request))
                response = await handler(request)
        except LimitReached as error:
            response = json_answer({"error": error.name, "message": error.message}, status=429, **error.headers)
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
            if "Access-Control-Allow-Origin" not in response.headers:
                response.headers.update(CORS)
            if allowance is not None:
                response.headers.update(allowance)
            self._count(request, response.status)
        return response

    def _count(self, request: web.Request, status: int) -> None:
        """Only methods that exist become label values: their number is ours, not a stranger's."""
        path = request.path
        counter = self._counters.get((path, status))
        if counter is None:
            nsid = path.removeprefix("/xrpc/").removesuffix("/")
            if nsid not in self._methods:
                return
            counter = self._counters[path, status] = self._metrics.requests.labels(nsid, str(status))
        counter.inc()

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
        return await self._call(method, request)

    async def _call(self, method: Method, request: web.Request) -> web.StreamResponse:
        if isinstance(method, Subscription):
            return await self.subscriptions.serve(request, method, self._limits.client(request))
        return await self._answer(request, method)

    async def _answer(self, request: web.Request, method: Query | Procedure) -> web.Response:
        verbs = ("POST",) if isinstance(method, Procedure) else ("GET", "HEAD")
        if request.method not in verbs:
            raise XrpcError("InvalidRequest", f"{method.nsid} takes {verbs[0]}", status=405)
        query = request.rel_url.raw_query_string
        if isinstance(method, Query) and method.ready is not None:
            self._refuse_body(request)
            body = method.ready(query, request.headers)
            if body is not None:
                return json_answer(body)
        params = decode_params(method.params, request.query.items())
        if isinstance(method, Query):
            self._refuse_body(request)
            if method.bounded:
                return json_answer(await method.answer(Call(params, request.headers, query=query)))
        async with asyncio.timeout(ANSWER_SECONDS):
            body = await self._body(request) if isinstance(method, Procedure) else None
            return json_answer(await method.answer(Call(params, request.headers, body, query)))

    @staticmethod
    def _refuse_body(request: web.Request) -> None:
        if request.can_read_body:  # also one of no stated length
            raise XrpcError("InvalidRequest", "this method takes no body")

    @staticmethod
    async def _body(request: web.Request) -> Any:
        if request.content_type != "application/json":
            raise XrpcError("InvalidRequest", "send a JSON body with Content-Type: application/json")
        if request.headers.get("Content-Encoding", "identity").lower() != "identity":
            raise XrpcError("InvalidRequest", "send the body without a Content-Encoding")
        try:
            return orjson.loads(await request.read())
        except orjson.JSONDecodeError:
            raise XrpcError("InvalidRequest", "the body is not JSON") from None
        except web.RequestPayloadError:  # its parts are not joined as HTTP has it
            raise XrpcError("InvalidRequest", "the body cannot be read") from None

    # --- small pages ----------------------------------------------------------------------------------------

    async def _health(self, _: web.Request) -> web.Response:
        try:
            async with asyncio.timeout(2.0):
                await self._healthy()
        except (AppError, TimeoutError) as error:
            return json_answer({"version": self._version, "error": type(error).__name__}, status=503)
        return json_answer({"version": self._version})

    async def _metrics_page(self, _: web.Request) -> web.Response:
        await self.subscriptions.measure()
        return web.Response(body=self._metrics.text(), headers={"Content-Type": "text/plain; version=0.0.4"})

    async def _robots(self, _: web.Request) -> web.Response:
        return web.Response(text="User-agent: *\nAllow: /\n")
