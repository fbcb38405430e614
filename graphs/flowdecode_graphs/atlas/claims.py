"""What a text says about the Atlas, sentence by sentence, true or not.

Every name in the world stands for one thing, so that naming it is a claim. Its subject is the town that the
sentence names before it, else after it, else the one that the section is about. A district belongs to the
hotel or the sights in its sentence, a number to the hotel or sight before it, unless it is a year or a
height.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from functools import cache
from math import prod
from typing import NamedTuple

from flowdecode_graphs.atlas.facts import FIELDS, Fact
from flowdecode_graphs.atlas.sections import Section, sections, sentences
from flowdecode_graphs.atlas.world import ATLAS

__all__ = ["Equation", "Mention", "claims", "equations", "mentions"]

NOWHERE = "somewhere"
"""The subject of what is said of no town."""


class Mention(NamedTuple):
    """A name or a number in a text."""

    kind: str
    """`town`, what a fact is called, or `number`."""
    value: str


class Equation(NamedTuple):
    """A sum or a product."""

    value: int
    """What it comes to."""
    result: int
    """What the text says."""


def claims(text: str, town: str = NOWHERE) -> list[Fact]:
    """All that the text says, in its order; `town` is meant where it has named none."""
    reader = _Reader(town)
    without_sums = _EQUATION.sub(" ", _plain(text))
    return [claim for section in sections(without_sums) for claim in reader.read(section)]


def equations(text: str) -> list[Equation]:
    """Sums and products that the text works out, such as `5 + 10 = 15` or `3 nights at 40 are 120`."""
    return [
        Equation(
            sum(prod(map(int, _NUMBER.findall(term))) for term in _PLUS.split(match["terms"])),
            int(match["result"]),
        )
        for match in _EQUATION.finditer(_plain(text))
    ]


def mentions(sentence: str) -> list[Mention]:
    """The names and numbers of a sentence, in its order."""
    words = [word.lower() for word in _WORD.findall(sentence)]
    found: list[Mention] = []
    index = 0
    while index < len(words):
        length, mention = _mention(words, index)
        if mention is not None:
            found.append(mention)
        index += length
    return found


def _mention(words: Sequence[str], index: int) -> tuple[int, Mention | None]:
    """What is named at a place, and in how many words."""
    for phrase, mention in _lexicon().get(words[index], ()):
        if tuple(words[index : index + len(phrase)]) == phrase:
            return len(phrase), mention
    if not words[index].isdecimal():
        return 1, None
    number = str(int(words[index]))
    if words[index + 1 : index + 2] and words[index + 1] in _METRES:
        return 2, Mention("height", number)
    return 1, Mention("year" if 1000 <= int(number) < 2000 else "number", number)


class _Reader:
    """Goes through a text and keeps in mind what it is about."""

    def __init__(self, town: str) -> None:
        self._town = town
        self._place: Mention | None = None
        """The hotel or sight that was named last."""
        self._has_number = False

    def read(self, section: Section) -> Iterator[Fact]:
        """The claims of a section, its heading's among them."""
        self._place = None
        for heading in section.heading.splitlines():
            yield from self._read_sentence(mentions(heading))
        about = [mention.value for mention in mentions(section.heading) if mention.kind == "town"]
        for sentence in sentences(section.body):
            yield from self._read_sentence(mentions(sentence))
            self._town = about[0] if about else self._town

    def _read_sentence(self, found: Sequence[Mention]) -> Iterator[Fact]:
        towns = [mention.value for mention in found if mention.kind == "town"]
        self._town = towns[0] if towns else self._town
        yield from self._located(found)
        for mention in found:
            match mention.kind:
                case "town":
                    self._town = mention.value
                case "number":
                    if self._place is not None and not self._has_number:
                        name = "price" if self._place.kind == "hotel" else "ticket"
                        yield Fact(self._place.value, name, mention.value)
                    self._has_number = True
                case "hotel" | "sight":
                    yield Fact(self._town, *mention)
                    self._place, self._has_number = mention, False
                case "district":
                    pass
                case _:
                    yield Fact(self._town, *mention)

    def _located(self, found: Sequence[Mention]) -> Iterator[Fact]:
        """What a sentence says of districts: a district holds the places after it, or those before it.

        Which of the two, the sentence's first name tells. A district without places is the last place's.
        """
        named = [mention for mention in found if mention.kind in _PLACES or mention.kind == "district"]
        if all(mention.kind == "district" for mention in named):
            subject = self._place.value if self._place is not None else self._town
            yield from (Fact(subject, *mention) for mention in named)
        district = None
        for mention in named if named and named[0].kind == "district" else reversed(named):
            if mention.kind == "district":
                district = mention.value
            elif district is not None:
                yield Fact(mention.value, "district", district)


@cache
def _lexicon() -> dict[str, list[tuple[tuple[str, ...], Mention]]]:
    """Every name as lower-case words, by its first word; the longest first."""
    named = {Mention("town", town.name) for town in ATLAS.towns}
    for town in ATLAS.towns:
        named |= {
            Mention(name, getattr(town, name))
            for names in FIELDS.values()
            for name in names
            if name not in ("year", "height")
        }
        for hotel in town.hotels:
            named |= {Mention("hotel", hotel.name), Mention("district", hotel.district)}
            named |= {Mention("sight", sight.name) for sight in hotel.sights}
    lexicon: dict[str, list[tuple[tuple[str, ...], Mention]]] = {}
    for mention in sorted(named, key=lambda mention: (-len(mention.value), mention)):
        words = tuple(word.lower() for word in _WORD.findall(mention.value))
        lexicon.setdefault(words[0], []).append((words, mention))
    return lexicon


def _plain(text: str) -> str:
    """Without commas inside numbers."""
    return _THOUSANDS.sub("", text)


_PLACES = ("hotel", "sight")
_METRES = ("m", "meter", "meters", "metre", "metres")
_WORD = re.compile(r"[^\W_]+")
_NUMBER = re.compile(r"\d+")
_THOUSANDS = re.compile(r"(?<=\d),(?=\d{3}\b)")
_PLUS = re.compile(r"\+|plus")
_EQUATION = re.compile(
    r"(?P<terms>\d+(?:\s*(?:[+x×*]|plus|times|nights?\s(?:at|for))\s*\d+)+)"
    r"\s*(?:=|is|are|makes?|equals?|gives?|costs?)\s*(?P<result>\d+)",
    re.IGNORECASE,
)
