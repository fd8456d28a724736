"""Moods as texts: prompt ensembles in the space that audio and text share (FEEDS section 2, step 1)."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Sequence
from dataclasses import replace
from functools import cache
from pathlib import Path
from typing import cast

import msgspec
import numpy as np
from numpy.typing import NDArray

from core.analysis import DIMENSIONS, Space, Vector
from core.feed import PROMPT_WRAPPERS, Feed, FeedKind, FeedQuery, MoodQuery, Questions
from core.ports import Analyst
from models.moods import build_query
from models.pack import PackSet
from models.styles import build_style_query

_BEST = 2  # of the positives count: a mood is many things, a track need not be all of them
_NEGATIVE_WEIGHT = 0.5
_TEXTS_A_CALL = 64  # an embedding takes some 20 ms: other callers get their turn
SMALL_CORPUS = 50  # tracks: below it no spread is to be had from the corpus alone
_USUAL_SPREAD = 0.06  # of cosines between a prompt and tracks (FEEDS 2.4)
_NO_SPREAD = 1e-6  # what rounding leaves between equal tracks


class _NeutralPrompts(msgspec.Struct, frozen=True):
    """The file."""

    prompts: tuple[str, ...]


@cache
def load_neutral_prompts() -> tuple[str, ...]:
    """Some 200 descriptions of everyday sounds and kinds of music, read once."""
    source = Path(__file__).with_name("neutral_prompts.json").read_bytes()
    return msgspec.json.decode(source, type=_NeutralPrompts).prompts


async def feed_queries(analyst: Analyst, feeds: Sequence[Feed], packs: PackSet) -> Questions:
    """What the mood feeds ask of these packs: prompts of the space CLAP, styles and moods of effnet, tags of musicnn.

    Raises what `embed` raises.
    """
    moods = [feed for feed in feeds if feed.kind is FeedKind.MOOD]
    spaces = frozenset(packs.spaces)
    queries = {feed.rkey: _ask_of_names(feed, spaces) for feed in moods}
    if Space.CLAP not in spaces:
        return Questions(queries)
    neutral = await _embed(analyst, load_neutral_prompts(), keep=True)
    centre = cast("Vector", neutral.mean(axis=0))
    for feed in moods:
        if feed.prompts:
            prompts = await _ask(analyst, feed.prompts, feed.negative_prompts, feed.wrappers, centre, keep=True)
            queries[feed.rkey] = replace(queries[feed.rkey], prompts=prompts)
    return Questions(queries, neutral - centre)


def _ask_of_names(feed: Feed, spaces: Collection[Space]) -> FeedQuery:
    """What a feed asks of the packs that name things."""
    named = Space.EFFNET_TAGS in spaces and (feed.styles or feed.moods)
    return FeedQuery(
        styles=build_style_query(feed.styles, feed.moods) if named else None,
        tags=build_query(feed.tags) if Space.MUSICNN_TAGS in spaces else None,
        gates=tuple((gate, build_query(gate.without.tags)) for gate in feed.gates),
        non_music=frozenset(feed.non_music),
        mode=feed.mode,
    )


async def build_prompt_query(analyst: Analyst, positive: Sequence[str], negative: Sequence[str] = ()) -> MoodQuery:
    """A question to the space CLAP from free text: what is wanted (at least one) and what is not."""
    return await _ask(analyst, positive, negative, PROMPT_WRAPPERS, await _embed_neutral(analyst), keep=False)


def score_prompts(positive: Vector, negative: Vector) -> NDArray[np.float64]:
    """How well each track fits, in standard deviations: f64 [tracks].

    What `fit_prompts` says, standardised over these tracks, which have to be the whole corpus. Of fewer than 50 tracks
    the fit itself: each is judged alone, and the best of a few is not said to fit for being the best.
    """
    if len(positive) == 0:
        return np.empty(0)
    fit = fit_prompts(positive, negative)
    if len(fit) < SMALL_CORPUS:
        return fit
    spread = float(fit.std())
    return (fit - fit.mean()) / spread if spread > _NO_SPREAD else np.zeros_like(fit)


def fit_prompts(positive: Vector, negative: Vector) -> NDArray[np.float64]:
    """How well each track fits by itself, in units of the spread that cosines usually have: f64 [tracks].

    From inner products with a query's rows, f32 [tracks, prompts]: the mean of the two best positives less half the
    best negative.
    """
    fit = np.sort(positive.astype(np.float64), axis=1)[:, -_BEST:].mean(axis=1)
    if negative.shape[1]:
        fit -= _NEGATIVE_WEIGHT * negative.max(axis=1)
    return cast("NDArray[np.float64]", fit / _USUAL_SPREAD)


async def _ask(
    analyst: Analyst,
    positive: Sequence[str],
    negative: Sequence[str],
    wrappers: Sequence[str],
    centre: Vector,
    *,
    keep: bool,
) -> MoodQuery:
    """Each prompt in every wrapper, averaged, less what is neutral, and all that over the average's length.

    The average of several wordings is shorter than one text's vector, and only so much of it is neutral: to subtract
    after normalising would leave a part in, and tracks that are near everything would gain by it.
    """
    texts = [wrapper.replace("{}", prompt) for prompt in (*positive, *negative) for wrapper in wrappers]
    wordings = await _embed(analyst, texts, keep=keep)
    means = wordings.reshape(-1, len(wrappers), wordings.shape[1]).mean(axis=1)
    rows = (means - centre) / np.maximum(np.linalg.norm(means, axis=1, keepdims=True), 1e-12)
    return MoodQuery(Space.CLAP, rows[: len(positive)], rows[len(positive) :])


async def _embed_neutral(analyst: Analyst) -> Vector:
    """f32 [512], the mean of the neutral prompts: an inner product with it is the mean of theirs."""
    return cast("Vector", (await _embed(analyst, load_neutral_prompts(), keep=True)).mean(axis=0))


async def _embed(analyst: Analyst, texts: Sequence[str], *, keep: bool) -> Vector:
    if not texts:
        return np.empty((0, DIMENSIONS[Space.CLAP]), np.float32)
    return np.concatenate([await analyst.embed(part, keep=keep) for part in _parts(texts)])


def _parts(texts: Sequence[str]) -> Iterable[Sequence[str]]:
    return (texts[at : at + _TEXTS_A_CALL] for at in range(0, len(texts), _TEXTS_A_CALL))
