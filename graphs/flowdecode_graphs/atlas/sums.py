"""Sums and products that a text works out."""

from __future__ import annotations

import re
from math import prod
from typing import NamedTuple

__all__ = ["MAX_DIGITS", "Equation", "equations", "results", "without_equations"]

MAX_DIGITS = 9
"""Longer numbers are none of ours."""


class Equation(NamedTuple):
    """Such as `5 + 10 = 15` or `3 nights at 40 are 120`."""

    value: int
    """What it comes to."""
    result: int
    """What the text says."""


def equations(text: str) -> list[Equation]:
    """All equations of the text."""
    return [
        Equation(
            sum(prod(map(int, _NUMBER.findall(term))) for term in _PLUS.split(match["terms"])),
            int(match["result"]),
        )
        for match in _EQUATION.finditer(_plain(text))
    ]


def results(text: str) -> set[int]:
    """What the equations are said to come to, and totals that are only stated."""
    stated = _TOTAL.findall(without_equations(text))
    return {equation.result for equation in equations(text)} | set(map(int, stated))


def without_equations(text: str) -> str:
    """The rest of the text, with no commas inside numbers."""
    return _EQUATION.sub(" ", _plain(text))


def _plain(text: str) -> str:
    return _THOUSANDS.sub("", text)


_NUMBER = re.compile(r"\d+")
_THOUSANDS = re.compile(r"(?<=\d),(?=\d{3}\b)")
_PLUS = re.compile(r"\+|plus", re.IGNORECASE)
_EQUATION = re.compile(
    r"""(?<!\d) (?P<terms> \d{1,9} (?: \s* (?: [+x×*] | plus | times | nights?\s(?:at|for) ) \s* \d{1,9} )+ )
    \s* (?: = | is | are | makes? | equals? | gives? | costs? ) \s* (?P<result>\d{1,9}) (?!\d)""",
    re.IGNORECASE | re.VERBOSE,
)
_TOTAL = re.compile(r"\b(?:total|together|in all)\b\D{0,20}(\d{1,9})(?!\d)", re.IGNORECASE)
