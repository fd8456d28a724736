"""What the packs are: declarations of their files, sizes, hashes, licences, labels and spaces.

The built-in declarations are `packs.json`. Another file of the same shape (setting listening.pack_catalogue, option
`--catalogue`) replaces them altogether: an operator's own build, or the small stand-ins of tests and benches.
"""

from __future__ import annotations

import difflib
import hashlib
from collections.abc import Mapping
from functools import cache
from importlib.resources import files
from pathlib import Path
from typing import Annotated

import msgspec
from msgspec import Meta

from core.analysis import PackName, Space, TaggerName
from core.errors import Misconfigured

UNSIZED_LIMIT_BYTES = 8 << 20  # of a file whose size nobody published; such heads have half a megabyte

# The positive class of each two-class head, in the order of their scores.
_HEADS = ("danceability", "mood_aggressive", "mood_happy", "mood_party", "mood_relaxed", "mood_sad", "voice")

_FileName = Annotated[str, Meta(pattern=r"^(?!manifest\.json\Z)[A-Za-z0-9][\w-]*\.[\w.-]+\Z", max_length=120)]
_Sha256 = Annotated[str, Meta(pattern=r"^[0-9a-f]{64}\Z")]
_Size = Annotated[int, Meta(gt=0)]


class Licence(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """One licence that the files are reported to be under. `id` is that of SPDX."""

    id: str
    url: str
    about: str


class Download(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """One file as its publisher serves it. `path` is its name in the pack's folder and in mirrors."""

    path: _FileName
    sha256: _Sha256
    size: _Size | None = None  # bytes; None: not published, at most UNSIZED_LIMIT_BYTES
    url: str | None = None  # None: only from a folder or mirror
    optional: bool = False  # the pack works without it
    unconfirmed: bool = False  # one source has the hash: an optional file that differs is left out with a note

    @property
    def limit_bytes(self) -> int:
        """More than this is never read."""
        return UNSIZED_LIMIT_BYTES if self.size is None else self.size


class Wheel(Download, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """The Python wheel that a pack is made from, as any package index serves it."""

    requirement: str


class FrontEnd(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """What the graphs want to hear: log-mel patches of mono audio."""

    rate_hz: int
    mel_bands: int
    patch_frames: int


class Pack(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """A declared pack: made from a wheel (by models.convert) or from files as they are."""

    name: PackName
    role: str
    gives: str
    licences: Annotated[tuple[Licence, ...], Meta(min_length=1)]
    consent: bool  # whether the licence has to be accepted before a pull
    taggers: dict[TaggerName, int]  # how many labels each has; `tag_names` knows them
    spaces: tuple[Space, ...]
    front_end: FrontEnd
    wheel: Wheel | None = None
    files: tuple[Download, ...] = ()
    # A module that is run on the folder of verified files; what it writes there belongs to the pack, which works
    # without it too.
    convert: Annotated[str, Meta(pattern=r"^models\.[a-z_]+\Z")] | None = None
    recipe: int = 1  # raised when a conversion makes other bytes of the same downloads: installed packs are made anew

    @property
    def downloads(self) -> tuple[Download, ...]:
        """Everything that a pull fetches."""
        return self.files if self.wheel is None else (self.wheel, *self.files)

    @property
    def download_bytes(self) -> int:
        """Size of a pull, as far as sizes are published."""
        return sum(download.size or 0 for download in self.downloads)

    @property
    def licence(self) -> str:
        """The licences' ids in one line; what a consent is given to."""
        return " / ".join(licence.id for licence in self.licences)

    @property
    def made_from(self) -> str:
        """SHA-256 (hex) that tells declarations apart: over the downloads and what is made of them."""
        lines = [f"{download.path} {download.sha256}\n" for download in self.downloads]
        return hashlib.sha256("".join([*lines, f"convert {self.convert} {self.recipe}\n"]).encode()).hexdigest()


def read_catalogue(path: Path | None = None) -> Mapping[PackName, Pack]:
    """The declared packs by name, in order; the built-in ones without a path. Raises Misconfigured."""
    path = path or Path(__file__).with_name("packs.json")
    try:
        packs = msgspec.json.decode(path.read_bytes(), type=tuple[Pack, ...])
    except OSError as error:
        raise Misconfigured("listening.pack_catalogue", f"{path} cannot be read ({error.strerror})") from None
    except msgspec.DecodeError as error:
        raise Misconfigured("listening.pack_catalogue", f"{path} does not declare packs: {error}") from None
    return {pack.name: pack for pack in packs}


def get_pack(name: str, catalogue: Path | None = None) -> Pack:
    """The declared pack. Raises Misconfigured with the nearest name."""
    packs = read_catalogue(catalogue)
    for pack in packs.values():
        if pack.name == name:
            return pack
    near = difflib.get_close_matches(name, packs, n=1)
    hint = f"did you mean {near[0]!r}?" if near else f"there are: {', '.join(packs) or 'none'}"
    raise Misconfigured("listening.packs", f"no pack is called {name!r}; {hint}")


@cache
def tag_names(tagger: TaggerName) -> tuple[str, ...]:
    """A tagger's labels in the order of its scores.

    musicnn's are those of the wheel's configuration (checked by `pull`); EffNet's styles ("Electronic---Ambient") and
    the moods and themes are the sources of the taxonomy, which keeps the models' order.
    """
    match tagger:
        case "msd" | "mtt":
            source = Path(__file__).with_name("musicnn_labels.json").read_bytes()
            return msgspec.json.decode(source, type=dict[str, tuple[str, ...]])[tagger]
        case "discogs" | "moodtheme":
            taxonomy = msgspec.json.decode(files("core").joinpath("taxonomy.json").read_bytes())
            return tuple(row["source"] for row in taxonomy["styles" if tagger == "discogs" else "moods"])
        case "heads":
            return _HEADS
