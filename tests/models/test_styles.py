"""What effnet names, as a vector."""

from __future__ import annotations

import numpy as np
import pytest

from core.analysis import Space, Tag
from core.taxonomy import Taxonomy
from models.catalogue import tag_names
from models.styles import UNKNOWN, build_style_query, strongest, style_columns, style_vector, voice

STYLES, MOODS = tag_names("discogs"), tag_names("moodtheme")
TAGS = [Tag(name, "discogs", place / 1000) for place, name in enumerate(STYLES)]
HEARD = [*TAGS, *(Tag(name, "moodtheme", place / 100) for place, name in enumerate(MOODS)), Tag("voice", "heads", 0.25)]


def test_scores_stand_where_the_packs_labels_do() -> None:
    vector = style_vector(HEARD)
    assert (vector.shape, vector.dtype) == ((457,), np.float32)
    np.testing.assert_allclose(vector[:400], np.arange(400) / 1000, atol=1e-6)
    np.testing.assert_allclose(vector[400:456], np.arange(56) / 100, atol=1e-6)
    assert vector[456] == np.float32(0.25)


def test_heads_that_are_not_installed_are_no_moods_and_an_unknown_voice() -> None:
    vector = style_vector(TAGS)
    assert not vector[400:456].any()
    assert vector[456] == UNKNOWN
    assert np.isnan(voice(vector[np.newaxis])[0])
    assert voice(style_vector(HEARD)[np.newaxis])[0] == np.float32(0.25)
    with pytest.raises(KeyError):
        style_vector(HEARD[1:])


def test_a_query_sums_styles_and_half_the_moods() -> None:
    query = build_style_query({"electronic-ambient": 2.0}, {"calm": 0.8})
    assert query.space is Space.EFFNET_TAGS
    vector = style_vector(HEARD)
    ambient, calm = STYLES.index("Electronic---Ambient") / 1000, MOODS.index("calm") / 100
    assert float(query.positive[0] @ vector) == pytest.approx(2.0 * ambient + 0.5 * 0.8 * calm, abs=1e-5)
    for wrong in ({"polka": 1.0}, {}), ({}, {"clam": 1.0}):
        with pytest.raises(KeyError):
            build_style_query(*wrong)


def test_a_parent_is_as_strong_as_its_strongest_style() -> None:
    vector = style_vector(HEARD)[np.newaxis]
    rock = [STYLES.index(one.source) for one in Taxonomy.load().styles.values() if one.parent == "rock"]
    assert len(style_columns()["rock"]) == len(rock)
    assert strongest(vector, ["rock"])[0] == pytest.approx(max(rock) / 1000)
    assert strongest(vector, ["electronic-ambient"])[0] == pytest.approx(STYLES.index("Electronic---Ambient") / 1000)
