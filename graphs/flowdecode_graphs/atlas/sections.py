"""An answer cut at its headings, whichever strategy wrote it, and how much its sections repeat."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Sequence
from typing import NamedTuple

__all__ = ["Section", "cross_section_repetition", "sentences", "split_sections"]


class Section(NamedTuple):
    """What stands under a heading."""

    heading: str
    """Several lines where headings follow each other; empty before the first heading."""
    body: str


def split_sections(text: str) -> list[Section]:
    """The sections in their order.

    A heading is a line in Markdown's form, a line in bold, or the number and title of a point:
    `## Food in Yarralda`, `**Food in Yarralda**`, `1. Food in Yarralda: ...`.
    """
    found = [Section("", "")]
    for line in text.splitlines():
        heading = _HEADING.fullmatch(line)
        last = found[-1]
        if heading is None:
            found[-1] = Section(last.heading, f"{last.body}{line}\n")
            continue
        title, _, rest = (heading["marked"] or heading["bold"] or heading["point"]).partition(":")
        if last.body.strip():
            found.append(Section(title, f"{rest}\n"))
        else:
            found[-1] = Section(f"{last.heading}\n{title}".strip(), f"{rest}\n")
    return found


def sentences(text: str) -> list[str]:
    """Sentences, and what stands on a line of its own."""
    return [sentence.strip() for sentence in _SENTENCE_END.split(text) if sentence.strip()]


def cross_section_repetition(*groups: Sequence[str]) -> float:
    """The share of distinct trigrams of words that stand in two or more sections; groups are kept apart."""
    shared = distinct = 0
    for group in groups:
        seen: Counter[tuple[str, ...]] = Counter()
        for body in group:
            words = _WORD.findall(body.lower())
            seen.update(set(zip(words, words[1:], words[2:], strict=False)))
        shared += sum(count > 1 for count in seen.values())
        distinct += len(seen)
    return shared / distinct if distinct else 0.0


_HEADING = re.compile(
    r"""\s* (?: \#{1,6}\s+ (?P<marked>.+?) [\s#]*
    | \*\* (?P<bold>[^*]+) \*\* :? \s*
    | \*{0,2} \d{1,2} [.)] \s+ (?P<point>.+) )""",
    re.VERBOSE,
)
_SENTENCE_END = re.compile(r"(?<=[.!?])[*_\"')\]]*\s+|\n+")
_WORD = re.compile(r"\w+")
