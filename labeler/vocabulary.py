"""The declaration record: which values we may emit, and how clients show the lean set of them (TAXONOMY section 4)."""

from __future__ import annotations

from typing import Any

from core.clock import format_datetime
from core.taxonomy import Publish, Taxonomy

NSID = "app.bsky.labeler.service"
RKEY = "self"  # P91: any other is ignored


def emittable_values(taxonomy: Taxonomy) -> tuple[str, ...]:
    """Every value that we may ever sign: parents and the styles that may be published as such."""
    return tuple(
        identifier for identifier in taxonomy.identifiers if taxonomy.publish_kind(identifier) is Publish.STYLE
    )


def build_declaration(taxonomy: Taxonomy, *, created_us: int) -> dict[str, Any]:
    """The `app.bsky.labeler.service` record: all values listed, the lean set defined (P20-P24, P91, P92).

    Undefined values are meant to be invisible in Bluesky and readable by music clients. The three empty lists say
    that we take no reports; missing lists would say that we take all.
    """
    lean = [*taxonomy.parents, *(style.identifier for style in taxonomy.styles.values() if style.defined)]
    return {
        "$type": NSID,
        "policies": {
            "labelValues": list(emittable_values(taxonomy)),
            "labelValueDefinitions": [_definition(taxonomy, identifier) for identifier in lean],
        },
        "reasonTypes": [],
        "subjectTypes": [],
        "subjectCollections": [],
        "createdAt": format_datetime(created_us),
    }


def _definition(taxonomy: Taxonomy, identifier: str) -> dict[str, Any]:
    name = taxonomy.display(identifier)
    return {
        "identifier": identifier,
        "severity": "inform",  # `none` would hide it even when switched on
        "blurs": "none",
        "defaultSetting": "warn" if identifier in taxonomy.parents else "ignore",  # warn shows a badge
        "adultOnly": False,
        "locales": [
            {
                "lang": "en",
                "name": name,
                "description": f"Sounds like {name}. Automatic, may be wrong; the artist can dispute it.",
            }
        ],
    }
