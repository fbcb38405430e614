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
from typing import NamedTuple

from flowdecode_graphs.atlas.facts import FIELDS, Fact
from flowdecode_graphs.atlas.sections import Section, sentences, split_sections
from flowdecode_graphs.atlas.sums import MAX_DIGITS, without_equations
from flowdecode_graphs.atlas.world import ATLAS

__all__ = ["Mention", "mentions", "read_claims"]

NOWHERE = "somewhere"
"""The subject of what is said of no town."""


class Mention(NamedTuple):
    """A name or a number in a text."""

    kind: str
    """`town`, what a fact is called, or `number`."""
    value: str


def read_claims(text: str, town: str = NOWHERE) -> list[Fact]:
    """All that the text says, in its order; `town` is meant where it has named none."""
    reader = _Reader(town)
    found = split_sections(without_equations(text))
    return [claim for section in found for claim in reader.read(section)]


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
    if not words[index].isdecimal() or len(words[index]) > MAX_DIGITS:
        return 1, None
    number = str(int(words[index]))
    unit = words[index + 1] if index + 1 < len(words) else ""
    if unit in _UNITS:
        return 2, Mention(_UNITS[unit], number)
    return 1, Mention("year" if 1000 <= int(number) < 2000 else "number", number)


class _Reader:
    """Goes through a text and keeps in mind what it is about."""

    def __init__(self, town: str) -> None:
        self._town = town
        self._place: Mention | None = None
        """The hotel or sight that was named last."""
        self._has_number = False  # whether its price or ticket has come
        self._district = ""

    def read(self, section: Section) -> Iterator[Fact]:
        """The claims of a section, its heading's among them."""
        self._place, self._district = None, ""
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
                        self._has_number = True
                        name = "price" if self._place.kind == "hotel" else "ticket"
                        yield Fact(self._place.value, name, mention.value)
                case "hotel" | "sight":
                    yield Fact(self._town, *mention)
                    self._place, self._has_number = mention, False
                case "district" | "length of stay":
                    pass
                case _:
                    yield Fact(self._town, *mention)

    def _located(self, found: Sequence[Mention]) -> Iterator[Fact]:
        """What a sentence says of districts: a district holds the places after it, or those before it.

        Which of the two, the sentence's first name tells. A district without places is that of the last
        place; a sight without a district is in the section's last one.
        """
        named = [mention for mention in found if mention.kind in _PLACES or mention.kind == "district"]
        if all(mention.kind == "district" for mention in named):
            subject = self._place.value if self._place is not None else self._town
            yield from (Fact(subject, *mention) for mention in named)
        district = ""
        for mention in named if named and named[0].kind == "district" else reversed(named):
            if mention.kind == "district":
                self._district = district = mention.value
            elif district or (mention.kind == "sight" and self._district):
                yield Fact(mention.value, "district", district or self._district)


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


_PLACES = ("hotel", "sight")
_UNITS = {
    **dict.fromkeys(("m", "meter", "meters", "metre", "metres"), "height"),
    **dict.fromkeys(("day", "days", "night", "nights"), "length of stay"),
}
_WORD = re.compile(r"[^\W_]+")
