"""How a verb talks to the service that runs on the same machine: a second listener, on the loopback only.

`serve` writes its address and a fresh 256-bit secret to `control.json` in the data folder, readable by its own user
alone, and removes the file when it ends. A call is `POST /NAME` with JSON parameters and the secret as bearer token;
the answer is a stream of JSON lines that ends with `{"done": true}` or `{"error": word, "message": text}`.
"""

from __future__ import annotations

import asyncio
import hmac
import os
import secrets
from collections.abc import AsyncGenerator, AsyncIterator, Callable, Iterator, Mapping
from contextlib import aclosing, asynccontextmanager
from pathlib import Path
from typing import Any, TypeVar

import httpx
import msgspec
import orjson
from aiohttp import web

from core.config import Settings
from core.errors import AppError
from core.log import Log

MAX_PARAMS_BYTES = 1024 * 1024  # a list of accounts to walk fits
ALIVE_SECONDS = 10.0  # a handler with nothing to say for so long is spoken for with an empty line
SILENT_SECONDS = 60.0  # after which the caller takes the service for hung
END_SECONDS = 0.2  # a handler that is being stopped has so long to finish by itself

_Shape = TypeVar("_Shape", bound=msgspec.Struct)
Handler = Callable[[Mapping[str, Any]], AsyncIterator[Mapping[str, Any]]]


class NotRunning(AppError):
    """No service runs on this data folder, or it ended while it answered."""


class Refused(AppError):
    """The service answered the call with an error; `reason` is its word."""

    def __init__(self, reason: str, message: str) -> None:
        super().__init__(message)
        self.reason = reason


class _Address(msgspec.Struct, frozen=True):
    url: str
    secret: str


def read_params(params: Mapping[str, Any], shape: type[_Shape]) -> _Shape:
    """The parameters of a call as what its handler works with. Raises Refused for what was not understood."""
    try:
        return msgspec.convert(params, shape)
    except msgspec.ValidationError as error:
        raise Refused("invalid", str(error)) from None


def control_file(folder: Path) -> Path:
    """Where the address of the service lies whose data are in `folder`."""
    return folder / "control.json"


class Control:
    """The service's side. A handler is an asynchronous generator; it is closed when its caller goes away."""

    def __init__(self, folder: Path, *, log: Log) -> None:
        self._file = control_file(folder)
        self._log = log
        self._secret = secrets.token_urlsafe(32)
        self._handlers: dict[str, Handler] = {}

    def route(self, name: str, handler: Handler) -> None:
        """What answers `call(settings, name, params)`. An AppError that it raises reaches the caller as `Refused`."""
        self._handlers[name] = handler

    @asynccontextmanager
    async def opened(self) -> AsyncIterator[None]:
        """Listens until the context ends; calls that still run are cancelled then."""
        app = web.Application(client_max_size=MAX_PARAMS_BYTES)
        app.router.add_post("/{name}", self._answer)
        runner = web.AppRunner(app, access_log=None, shutdown_timeout=END_SECONDS, handler_cancellation=True)
        await runner.setup()
        try:
            await web.TCPSite(runner, "127.0.0.1", 0).start()
            host, port = runner.addresses[0][:2]
            self._announce(_Address(f"http://{host}:{port}", self._secret))
            yield
        finally:
            self._file.unlink(missing_ok=True)
            await runner.cleanup()

    def _announce(self, address: _Address) -> None:
        """Whole or not at all, and never readable by others, not even for a moment."""
        made = self._file.with_suffix(".new")
        made.unlink(missing_ok=True)
        with open(os.open(made, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "wb") as file:  # noqa: PTH123
            file.write(msgspec.json.encode(address))
        made.replace(self._file)

    async def _answer(self, request: web.Request) -> web.StreamResponse:
        given = request.headers.get("Authorization", "").encode("utf-8", "replace")
        if not hmac.compare_digest(given, f"Bearer {self._secret}".encode()):
            raise web.HTTPUnauthorized
        handler = self._handlers.get(request.match_info["name"])
        if handler is None:
            raise web.HTTPNotFound
        params = orjson.loads(await request.read())
        response = web.StreamResponse(headers={"Content-Type": "application/jsonl"})
        await response.prepare(request)
        try:
            async with aclosing(_kept_alive(handler(params))) as lines:
                async for line in lines:
                    await response.write(b"\n" if line is None else orjson.dumps({"line": line}) + b"\n")
        except AppError as error:
            end: dict[str, Any] = {"error": getattr(error, "reason", "failed"), "message": str(error)}
        except ConnectionError:  # the caller went away
            return response
        except Exception:  # a bug: it must not end the service
            self._log.exception("bug while answering a command", command=request.match_info["name"])
            end = {"error": "bug", "message": "our fault; the service's log has it"}
        else:
            end = {"done": True}
        await response.write(orjson.dumps(end) + b"\n")
        return response


async def _kept_alive(answers: AsyncIterator[Mapping[str, Any]]) -> AsyncGenerator[Mapping[str, Any] | None]:
    """The answers, and None whenever there was none for a while."""
    coming: asyncio.Future[Mapping[str, Any]] | None = None
    try:
        while True:
            coming = coming or asyncio.ensure_future(anext(answers))
            if not (await asyncio.wait([coming], timeout=ALIVE_SECONDS))[0]:
                yield None
                continue
            try:
                answer = coming.result()
            except StopAsyncIteration:
                return
            coming = None
            yield answer
    finally:
        if coming is not None and coming.cancel():
            await asyncio.wait([coming])
        if (close := getattr(answers, "aclose", None)) is not None:
            await close()


def call(settings: Settings, name: str, params: Mapping[str, Any] | None = None) -> Iterator[dict[str, Any]]:
    """What the running service says to a command, line by line as it comes. Leaving the loop ends the command.

    Raises NotRunning (also when the service ends before it is done) and Refused.
    """
    try:
        address = msgspec.json.decode(control_file(settings.data).read_bytes(), type=_Address)
    except (FileNotFoundError, msgspec.DecodeError):
        raise NotRunning(f"no service runs on {settings.data}; start it with: earmark serve") from None
    headers = {"Authorization": f"Bearer {address.secret}"}
    timeout = httpx.Timeout(SILENT_SECONDS, connect=5.0)
    try:
        with (
            httpx.Client(base_url=address.url, headers=headers, trust_env=False, timeout=timeout) as client,
            client.stream("POST", f"/{name}", content=orjson.dumps(dict(params or {}))) as response,
        ):
            if response.status_code == 404:
                raise Refused("unknown", f"the service on {settings.data} does not know the command {name}")
            for text in response.raise_for_status().iter_lines():
                if not text:
                    continue
                said = orjson.loads(text)
                if "error" in said:
                    raise Refused(said["error"], said["message"])
                if "done" in said:
                    return
                yield said["line"]
    except httpx.ConnectError:  # it was killed, and its file stayed
        raise NotRunning(f"no service runs on {settings.data}; start it with: earmark serve") from None
    except (httpx.HTTPError, orjson.JSONDecodeError):
        pass
    raise NotRunning("the service ended before it was done; start it again with: earmark serve")
