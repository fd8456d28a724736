"""What viewers tell of feeds: `app.bsky.feed.sendInteractions` (P128-P131), and `forgetMe`, which takes it all back."""

from __future__ import annotations

import hashlib
from collections.abc import Collection, Mapping
from dataclasses import dataclass
from typing import Any

from core.clock import Clock
from core.errors import XrpcError
from core.log import Log
from core.metrics import Metrics
from core.serviceauth import Claims, KeyResolver, bearer, verify
from core.xrpc import Call, Procedure
from feedgen.context import MAX_CONTEXT_BYTES, Contexts
from feedgen.posts import is_post
from feedgen.viewing import Viewing
from store import Store, Tx, feedback, links, used_tokens
from store.feedback import FeedWish, viewer_key

SEND_INTERACTIONS = "app.bsky.feed.sendInteractions"
MAX_INTERACTIONS = 100  # P131; the web takes 100 KiB of body
MAX_REQUEST_BYTES = 100  # P130
MAX_CLAIMS = 5  # tracks that one post may stand for: uploads of one song that claim its page
_PREFIX = "app.bsky.feed.defs#"
_EVENTS = frozenset(
    {
        "requestLess",
        "requestMore",
        "clickthroughItem",
        "clickthroughAuthor",
        "clickthroughReposter",
        "clickthroughEmbed",
        "interactionSeen",
        "interactionLike",
        "interactionRepost",
        "interactionReply",
        "interactionQuote",
        "interactionShare",
    }
)
_WISHES = {"requestLess": FeedWish.LESS, "requestMore": FeedWish.MORE}
_OTHER = "other"  # P128: what nobody knows yet is no mistake


@dataclass(frozen=True, slots=True)
class Interaction:
    """What was done (a name of app.bsky.feed.defs without its prefix, or "other") with which post, and the feedContext
    that came with it, if any: anybody's words until `Contexts` knows them.
    """

    event: str
    post_uri: str
    context: str = ""


class Interactions:
    """Believes tokens for `audiences`, each once (P122). What an account says changes its own feeds and no other's."""

    def __init__(
        self,
        store: Store,
        viewing: Viewing,
        *,
        feeds: Mapping[str, str],
        audiences: Collection[str],
        authority: str,
        secret: bytes,
        resolve_key: KeyResolver,
        clock: Clock,
        metrics: Metrics,
        log: Log,
    ) -> None:
        """`feeds`: rkey by at-uri; `secret`: as Viewing has it. `forgetMe` is named after `authority`."""
        self._store = store
        self._viewing = viewing
        self._feeds = feeds
        self._audiences = audiences
        self._forget_me = f"{authority}.forgetMe"
        self._secret = secret
        self._contexts = Contexts(secret)
        self._resolve_key = resolve_key
        self._clock = clock
        self._metrics = metrics
        self._log = log

    def procedures(self) -> tuple[Procedure, ...]:
        """Both methods as transport-free descriptions."""
        return (
            Procedure(SEND_INTERACTIONS, self.send_interactions),
            Procedure(self._forget_me, self.forget_me),
        )

    async def send_interactions(self, call: Call) -> Mapping[str, Any]:
        """Counts what was done, and keeps what is wished for. Raises XrpcError: 401 (P126, also without a token: P129),
        400 InvalidRequest, 429 RateLimitExceeded.
        """
        token, claims = await self._believe(call, SEND_INTERACTIONS)
        feed, interactions = read_interactions(call.body)
        rkey = self._feeds.get(feed, "")
        for one in interactions:
            self._metrics.interactions.labels(rkey or _OTHER, one.event).inc()
        wished = [one for one in interactions if one.event in _WISHES]
        now_us = self._clock.now_us()
        async with self._store.write() as tx:
            refusal = await self._use(tx, token, claims, now_us)
            wishes: dict[str, FeedWish] = {}
            for one in wished if refusal is None else ():
                wishes |= dict.fromkeys(await self._tracks_of(tx, one), _WISHES[one.event])
            if wishes:
                await feedback.put(tx, viewer_key(claims.iss, self._secret), rkey, wishes, now_us=now_us)
        if refusal is not None:
            raise refusal
        if wishes:
            self._viewing.forget(claims.iss)
        return {}

    async def _tracks_of(self, tx: Tx, interaction: Interaction) -> list[str]:
        """The track that we showed by this post, as our own feedContext tells; else all that it may stand for."""
        found = (await links.tracks_of(tx, interaction.post_uri))[:MAX_CLAIMS]
        said = self._contexts.read(interaction.context)
        return [uri for uri in found if said is not None and said.is_of(uri)] or found

    async def forget_me(self, call: Call) -> Mapping[str, Any]:
        """Forgets all that the account said in feeds and what was read of its records. Raises as above."""
        token, claims = await self._believe(call, self._forget_me)
        async with self._store.write() as tx:
            refusal = await self._use(tx, token, claims, self._clock.now_us())
        if refusal is not None:
            raise refusal
        forgotten = await self._viewing.forget_all_of(claims.iss)
        self._log.info("a viewer was forgotten", tracks=forgotten)
        return {"forgotten": forgotten}

    async def _believe(self, call: Call, method: str) -> tuple[str, Claims]:
        token = bearer(call.headers) or ""
        claims = await verify(
            token,
            audiences=self._audiences,
            method=method,
            now_us=self._clock.now_us(),
            resolve_key=self._resolve_key,
        )
        if claims.jti is None:
            self._metrics.anonymous.labels("without_jti").inc()
        return token, claims

    async def _use(self, tx: Tx, token: str, claims: Claims, now_us: int) -> XrpcError | None:
        """Why the token may not be used now. One without `jti` is known by its own text: it has no other (P122). Whose
        it is stays as unsaid as what they say.
        """
        who = viewer_key(claims.iss, self._secret).hex()
        if await used_tokens.too_many(tx, who, now_us=now_us):
            return XrpcError("RateLimitExceeded", "too many calls; come back later", status=429)
        known_by = hashlib.sha256((claims.jti or token).encode("utf-8", "surrogatepass")).hexdigest()
        until_us = claims.exp * 1_000_000
        if not await used_tokens.use(tx, who, known_by, until_us=until_us, now_us=now_us):
            return XrpcError("BadJwt", "the token was used before", status=401)
        return None


def read_interactions(body: Any) -> tuple[str, list[Interaction]]:
    """The feed that is named ('' if none) and what was done with posts; interactions with something else are left out.

    Raises XrpcError InvalidRequest for what the lexicon excludes or the caps refuse.
    """
    given = body.get("interactions") if isinstance(body, dict) else None
    if not isinstance(given, list) or len(given) > MAX_INTERACTIONS:
        raise _invalid(f"interactions must be a list of at most {MAX_INTERACTIONS}")
    feed = body.get("feed", "")
    if not isinstance(feed, str):
        raise _invalid("feed must be an at-uri")
    read = []
    for one in given:
        if not isinstance(one, dict) or not all(
            isinstance(one.get(name, ""), str) for name in ("item", "event", "feedContext", "reqId")
        ):
            raise _invalid("an interaction is an object of texts")
        if _size(one.get("feedContext", "")) > MAX_CONTEXT_BYTES or _size(one.get("reqId", "")) > MAX_REQUEST_BYTES:
            raise _invalid("feedContext or reqId is longer than any of ours")
        event = one.get("event", "").removeprefix(_PREFIX)
        if is_post(one.get("item", "")):
            event = event if event in _EVENTS else _OTHER
            read.append(Interaction(event, one["item"], one.get("feedContext", "")))
    return feed, read


def _size(text: str) -> int:
    return len(text.encode("utf-8", "surrogatepass"))


def _invalid(message: str) -> XrpcError:
    return XrpcError("InvalidRequest", message)
