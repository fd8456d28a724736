"""What effnet names, as a vector: 400 styles, 56 moods and themes, and how likely there is a voice.

The scores themselves, so that a weighted sum is one product (FEEDS section 2, step 2) and a veto reads its column.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from functools import cache

import numpy as np

from core.analysis import DIMENSIONS, Space, Tag, Vector
from core.feed import MoodQuery
from core.taxonomy import Taxonomy
from models.catalogue import tag_names

UNKNOWN = -1.0  # in the place of a voice: that head is not installed
_MOOD_WEIGHT = 0.5  # FEEDS 2.2: the style head is right more often than the mood head
_STYLES = 400
_VOICE = 456  # column


@cache
def style_columns() -> Mapping[str, tuple[int, ...]]:
    """Taxonomy identifier -> its column; a parent has those of all its styles."""
    taxonomy = Taxonomy.load()
    columns = {name: column for column, name in enumerate(tag_names("discogs"))}
    found: dict[str, tuple[int, ...]] = {
        style.identifier: (columns[style.source],) for style in taxonomy.styles.values()
    }
    for parent in taxonomy.parents:
        found[parent] = tuple(columns[one.source] for one in taxonomy.styles.values() if one.parent == parent)
    return found


def style_vector(tags: Sequence[Tag]) -> Vector:
    """f32 [457] from a track's mean scores; moods that nobody heard are 0. KeyError unless styles are complete."""
    scores = {(tag.model, tag.name): tag.score for tag in tags}
    styles = [scores["discogs", name] for name in tag_names("discogs")]
    moods = [scores.get(("moodtheme", name), 0.0) for name in tag_names("moodtheme")]
    return np.array([*styles, *moods, scores.get(("heads", "voice"), UNKNOWN)], np.float32)


def build_style_query(styles: Mapping[str, float], moods: Mapping[str, float]) -> MoodQuery:
    """A question to that space: the sum of weighted styles, and half that of moods. KeyError for an unknown name."""
    row = np.zeros((1, DIMENSIONS[Space.EFFNET_TAGS]), np.float32)
    for name, weight in styles.items():
        row[0, list(style_columns()[name])] += weight
    for name, weight in moods.items():
        row[0, _STYLES + _mood_column(name)] += _MOOD_WEIGHT * weight
    return MoodQuery(Space.EFFNET_TAGS, row, np.empty((0, row.shape[1]), np.float32))


def strongest(rows: Vector, styles: Sequence[str]) -> Vector:
    """How strong the strongest of these styles is in each of f32 [tracks, 457]: f32 [tracks]."""
    columns = [column for style in styles for column in style_columns()[style]]
    found: Vector = rows[:, columns].max(axis=1)
    return found


def voice(rows: Vector) -> Vector:
    """How likely there is a voice in each of f32 [tracks, 457]: f32 [tracks], not a number where that is not known."""
    return np.where(rows[:, _VOICE] == UNKNOWN, np.float32(np.nan), rows[:, _VOICE])


@cache
def _mood_columns() -> Mapping[str, int]:
    return {name: column for column, name in enumerate(tag_names("moodtheme"))}


def _mood_column(name: str) -> int:
    return _mood_columns()[name]
