"""What a server says when it refuses a websocket: aiohttp's client throws the words away, so they are read before."""

from __future__ import annotations

import aiohttp
import msgspec

from core.frames import ErrorFrame

REFUSAL_BYTES = 4096


class _Refusal(msgspec.Struct):
    error: str
    message: str = ""


async def read_refusal(request: aiohttp.ClientRequest, handler: aiohttp.ClientHandlerType) -> aiohttp.ClientResponse:
    """A middleware that turns an XRPC error in answer to the handshake into an ErrorFrame, like one in the stream. A
    redirect counts as one: the operator named a host, and no other one is asked (P206).
    """
    response = await handler(request)
    if response.status < 300:
        return response
    if response.status < 400:
        response.close()
        raise ErrorFrame("Redirect", f"the host answers {response.status}")
    try:
        body = await response.content.read(REFUSAL_BYTES)
        refusal = msgspec.json.decode(body, type=_Refusal)
    except (ValueError, aiohttp.ClientError):
        return response  # aiohttp says then that it was no handshake
    finally:
        response.close()
    raise ErrorFrame(refusal.error[:100], refusal.message[:300])
