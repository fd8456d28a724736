"""What the words of a report mean: a wish of its artist, and genres that fit or do not. Pure.

Words are a stranger's, in any language and of any form. What is understood is acted on at once, which is why little is:
an opt-out is taken from a clear phrase, a genre from its name. People read the rest.
"""

from __future__ import annotations

import re
from collections.abc import Collection, Iterator, Sequence
from dataclasses import dataclass

from core.analysis import Ruling
from core.taxonomy import Publish, Taxonomy
from store.wishes import Scope

MAX_STATED = 5  # as many as a track may carry (TAXONOMY section 3.4)
_LONGEST_NAME = 5  # words: "Brass & Military" has three, "Folk, World, & Country" is written without commas
_NEAR = 4  # words before a name in which a "not" belongs to it
_MUCH = 400  # words: further ones are searched for no names
_CLAUSE = re.compile(r"[.,;:!=()\[\]\n\u2013\u2014]+|\s-+\s|\bbut\b")
_OPT_IN = re.compile(
    r"(?:please |(?:i|id|we|wed) (?:(?:would )?like|want) to )?opt (?:me |us )?(?:back )?in(?: again)?(?: please)?"
)
_OPT_OUT = re.compile(
    r"\bopt(?:ed|ing)? ?(?:(?:me|us|everything|(?:all )?(?:of )?my \w+) )?out\b"
    r"(?P<feeds> (?:of|from) (?:(?!and |or )\w+ ){0,3}?feeds?\b(?! and\b| or\b))?"
)
_NO = frozenset(
    {
        "not",
        "no",
        "never",
        "nor",
        "neither",
        "without",
        "cannot",
        "cant",
        "dont",
        "doesnt",
        "didnt",
        "isnt",
        "arent",
        "wasnt",
        "wont",
        "wouldnt",
        "shouldnt",
        "nothing",
        "hardly",
        "zero",
        # Names are the same in many languages: nobody shall be taken to say the opposite of what they say.
        "nicht",
        "kein",
        "keine",
        "non",
        "pas",
        "niet",
        "geen",
        "nao",
        "não",
    }
)
_WRONG = frozenset({"wrong", "incorrect", "false"})  # of a label; before another genre's name it says nothing
_AWAY = frozenset(
    {"remove", "removed", "removing", "delete", "drop", "hide", "retract", "withdraw", "replace", "change", "less"}
)
_GONE = frozenset({"removed", "deleted", "off", "away", "go", "gone"})  # behind a name: "the rock label should go"
_INSTEAD = frozenset({"to", "with", "add", "more", "use"})  # end an "away" before them
_TURNS = frozenset({"it", "its", "this", "thats", "should", "only", "just"})  # end a "not" before them
_UNWANTED = re.compile(  # "do not label this track as"
    r"\b(?:not|dont|never|stop|cant|cannot|shouldnt)(?: want| you| to| please| be| ever){0,4}"
    r" (?:call|label|tag|mark)(?:[lg]?ing)?(?: it| me| us| (?:this|my)(?: track| song| music)?)?(?: as)?(?: an?)? "
    r"|\banything but "
)
_OVER = frozenset({("instead", "of"), ("rather", "than"), ("other", "than"), ("rid", "of"), ("far", "from")})
_QUOTES = frozenset(
    {"labelled", "labeled", "tagged", "called", "calls", "marked", "listed", "classified", "says", "said"}
)
_AFTER = re.compile(
    r"(?:(?:it|is|are|was|be|the|genre|label|tag|simply|just|completely|totally|should|must|has|needs|to) )*"
    r"(" + "|".join(_NO | _WRONG | _GONE) + r")\b"
)
# Names of styles that are everyday words: whoever writes of the beat of a song does not say that it is Beat.
_EVERYDAY = frozenset(
    {
        "abstract",
        "beat",
        "bounce",
        "breaks",
        "comedy",
        "conscious",
        "contemporary",
        "dialogue",
        "education",
        "educational",
        "interview",
        "mod",
        "modern",
        "monolog",
        "novelty",
        "political",
        "promotional",
        "religious",
        "screw",
        "score",
        "son",
        "story",
        "theme",
        "twist",
        "vocal",
    }
)


@dataclass(frozen=True, slots=True)
class Said:
    """What is understood. `wish`: how much the sender wants to be left out of, None when nothing is said of that.

    `fits` and `does_not`: identifiers, those that fit in the order they are named, none in both; `above`: parents of
    what fits.
    """

    wish: Scope | None = None
    fits: tuple[str, ...] = ()
    does_not: frozenset[str] = frozenset()
    above: frozenset[str] = frozenset()

    def of_labels(self, live: Collection[str]) -> Ruling:
        """What it makes of labels: every live one that was not named as fitting, nor lies above one, is wrong."""
        denied = self.does_not | (set(live) - set(self.fits) - self.above)
        return Ruling(frozenset(denied), self.fits[:MAX_STATED])


def understand(words: str, taxonomy: Taxonomy, *, live: Collection[str] = ()) -> Said:
    """What the words of a report on a track with these labels mean, as far as that is clear."""
    plain = _plain(words)
    fits: dict[str, None] = {}
    does_not: set[str] = set()
    for clause in _first(_clauses(_UNWANTED.sub("not ", plain)), _MUCH):
        names = [] if clause[-1] == "?" else list(_names(clause, taxonomy))  # a question says nothing
        next_starts = [*(start for _, start, _ in names[1:]), len(clause) + _NEAR]
        for (identifier, start, end), next_start in zip(names, next_starts, strict=False):
            if _is_denied(clause, start, end, next_start, is_live=identifier in live):
                does_not.add(identifier)
            else:
                fits[identifier] = None
    above = frozenset(taxonomy.parent_of(identifier) for identifier in fits)
    return Said(
        _wish(_clauses(_UNWANTED.sub("", plain))), tuple(fits), frozenset(does_not - fits.keys()), above - does_not
    )


def _plain(words: str) -> str:
    """Lower case, apostrophes gone ("dont"), hyphens kept: they belong to names. A question mark ends its clause."""
    return re.sub("['\u2019`\u00b4]", "", words.casefold()).replace("?", " ? .").replace("/", " ")


def _clauses(plain: str) -> list[list[str]]:
    """The words of each clause."""
    return [clause for part in _CLAUSE.split(plain) if (clause := part.split())]


def _wish(clauses: Sequence[Sequence[str]]) -> Scope | None:
    """The widest opt-out in any clause; an opt-in only when nothing else is said: it gives something up."""
    texts = [" ".join(clause).replace("-", " ") for clause in clauses]
    if len(texts) == 1 and _OPT_IN.fullmatch(texts[0]):
        return Scope.NONE
    found = {
        Scope.FEEDS if said["feeds"] else Scope.ALL
        for text in texts
        for said in _OPT_OUT.finditer(text)
        if _NO.isdisjoint(text[max(0, said.start() - 80) : said.start()].split()[-_NEAR:])
    }
    return next((scope for scope in (Scope.ALL, Scope.FEEDS) if scope in found), None)


def _first(clauses: Sequence[Sequence[str]], count: int) -> Iterator[Sequence[str]]:
    """The clauses that hold the first `count` words."""
    for clause in clauses:
        yield clause[:count]
        count -= len(clause)
        if count <= 0:
            return


def _names(clause: Sequence[str], taxonomy: Taxonomy) -> Iterator[tuple[str, int, int]]:
    """(identifier, first word, word behind the last) of names in a clause, the longest at each place."""
    start = 0
    while start < len(clause):
        for end in range(min(len(clause), start + _LONGEST_NAME), start, -1):
            name = " ".join(clause[start:end])
            identifier = None if name in _EVERYDAY else taxonomy.identify(name)
            if identifier is not None and taxonomy.publish_kind(identifier) is not Publish.NEVER:
                yield identifier, start, end
                start = end - 1
                break
        start += 1


def _is_denied(clause: Sequence[str], start: int, end: int, next_start: int, *, is_live: bool) -> bool:
    """Whether a name is said not to fit. Words such as "tagged" before it, or "wrong", refer to labels that are live; a
    "not" behind it to the next name, if that is near ("jazz not rock").
    """
    near = list(clause[max(0, start - _NEAR) : start])
    if tuple(near[-2:]) in _OVER or (is_live and not _QUOTES.isdisjoint(near)):
        return True
    for word in reversed(near):
        if word in _NO or (is_live and word in _WRONG):
            return True
        if word in _TURNS:
            break
    for word in reversed(near):
        if word in _AWAY:
            return True
        if word in _TURNS or word in _INSTEAD:
            break
    after = _AFTER.match(" ".join(clause[end : end + _NEAR]))
    return after is not None and (after[1] not in _NO or next_start - end > _NEAR)
