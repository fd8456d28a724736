"""The declaration record: which values we may emit, and how clients show the lean set of them (TAXONOMY section 4)."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from importlib.resources import files
from typing import Any

from core.clock import format_datetime
from core.taxonomy import Publish, Taxonomy

NSID = "app.bsky.labeler.service"
RKEY = "self"  # P91: any other is ignored

# What we take reports on (P92, P94). Both vocabularies arrive: apps send the newer words where a labeler lists them.
REASON_OTHER = frozenset({"com.atproto.moderation.defs#reasonOther", "tools.ozone.report.defs#reasonOther"})
REASON_APPEAL = frozenset({"com.atproto.moderation.defs#reasonAppeal", "tools.ozone.report.defs#reasonAppeal"})
REASON_TYPES = tuple(sorted(REASON_OTHER | REASON_APPEAL))
SUBJECT_TYPES = ("record",)  # never accounts: nothing that we say is about a person (P26)
POST_COLLECTION = "app.bsky.feed.post"  # a post that shares a track stands for it

_FIRST_LANGUAGE = "en"  # complete; clients fall back on the entry that comes first (P21)


def emittable_values(taxonomy: Taxonomy) -> tuple[str, ...]:
    """Every value that we may ever sign: parents and the styles that may be published as such."""
    return tuple(
        identifier for identifier in taxonomy.identifiers if taxonomy.publish_kind(identifier) is Publish.STYLE
    )


def defined_values(taxonomy: Taxonomy) -> tuple[str, ...]:
    """The lean set: what Bluesky's readers see and may switch on and off, parents first."""
    return (*taxonomy.parents, *(style.identifier for style in taxonomy.styles.values() if style.defined))


def subject_collections(music: Iterable[str]) -> tuple[str, ...]:
    """The collections that reports may be about: those we listen to, and posts."""
    return (*dict.fromkeys((*music, POST_COLLECTION)),)


def build_declaration(taxonomy: Taxonomy, *, music: Iterable[str], created_us: int) -> dict[str, Any]:
    """The `app.bsky.labeler.service` record: all values listed, the lean set defined (P20-P24, P91, P92).

    Undefined values are meant to be invisible in Bluesky and readable by music clients. `music` are the collections
    that we listen to: reports are taken on their records and on posts, for two reasons only.
    """
    strings = _load_strings()
    return {
        "$type": NSID,
        "policies": {
            "labelValues": list(emittable_values(taxonomy)),
            "labelValueDefinitions": [
                _definition(identifier, strings, badge=identifier in taxonomy.parents)
                for identifier in defined_values(taxonomy)
            ],
        },
        "reasonTypes": list(REASON_TYPES),
        "subjectTypes": list(SUBJECT_TYPES),
        "subjectCollections": list(subject_collections(music)),
        "createdAt": format_datetime(created_us),
    }


def _load_strings() -> Mapping[str, Any]:
    """`locales.json`: language -> a description with a place for the name, and the names by identifier."""
    strings: dict[str, Any] = json.loads(files("labeler").joinpath("locales.json").read_text(encoding="utf-8"))
    return {_FIRST_LANGUAGE: strings.pop(_FIRST_LANGUAGE), **strings}


def _definition(identifier: str, strings: Mapping[str, Any], *, badge: bool) -> dict[str, Any]:
    return {
        "identifier": identifier,
        "severity": "inform",  # `none` would hide it even when switched on
        "blurs": "none",
        "defaultSetting": "warn" if badge else "ignore",  # warn shows a badge
        "adultOnly": False,
        "locales": [
            {"lang": lang, "name": name, "description": said["description"].format(name=name)}
            for lang, said in strings.items()
            if (name := said["names"].get(identifier)) is not None
        ],
    }
