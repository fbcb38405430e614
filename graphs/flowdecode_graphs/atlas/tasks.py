"""What is asked: one Struct per kind of question, enough to answer it and to score an answer."""

from __future__ import annotations

from typing import Literal, get_args

import msgspec

from flowdecode_graphs.atlas.facts import Fact, Topic
from flowdecode_graphs.atlas.world import ATLAS

__all__ = [
    "CLUES",
    "CRITERIA",
    "KINDS",
    "Chain",
    "Choice",
    "Clue",
    "Comparison",
    "Criterion",
    "Guide",
    "Kind",
    "Outside",
    "Short",
    "Task",
]

Kind = Literal["guide", "comparison", "choice", "chain", "short", "outside"]
KINDS: tuple[Kind, ...] = get_args(Kind)

Criterion = Literal["older", "cheaper", "taller"]
CRITERIA: dict[Criterion, Topic] = {"older": "history", "cheaper": "hotels", "taller": "landmark"}
"""With the topic that tells."""

Clue = Literal["river", "landmark", "dish", "festival", "craft"]
CLUES: dict[Clue, Topic] = {
    "river": "nature", "landmark": "landmark", "dish": "food", "festival": "festival", "craft": "craft",
}  # fmt: skip
"""What only one town has, with the topic that it belongs to."""


class Guide(msgspec.Struct, frozen=True, tag="guide"):
    """A part about each topic; none needs another."""

    town: str
    topics: tuple[Topic, ...]
    long: bool
    """Whether each part is 80 tokens or more."""


class Comparison(msgspec.Struct, frozen=True, tag="comparison"):
    """Two towns on the same topics, then a verdict that follows from them."""

    first: str
    second: str
    topics: tuple[Topic, ...]
    """The criterion's own among them."""
    criterion: Criterion

    def value(self, town: str) -> int:
        """The number of a town that the verdict compares."""
        known = ATLAS[town]
        values = {"older": known.year, "cheaper": known.cheaper.price, "taller": known.height}
        return values[self.criterion]

    @property
    def winner(self) -> str:
        """The town that the verdict is for."""
        towns = sorted((self.first, self.second), key=self.value)
        return towns[-1 if self.criterion == "taller" else 0]


class Choice(msgspec.Struct, frozen=True, tag="choice"):
    """A free choice between two hotels, two days in the chosen one's district, and what it costs."""

    town: str
    topics: tuple[Topic, ...]
    """Asked besides; none or one that the choice says nothing about."""
    nights: int
    hotel: int
    """The reference answer's choice, 0 or 1; another answer may take the other."""


class Chain(msgspec.Struct, frozen=True, tag="chain"):
    """A town that must be found first, by what only it has."""

    town: str
    clue: Clue
    topics: tuple[Topic, ...] = ()
    """Asked of the town, one part each."""
    nights: int = 0
    """Without topics: what so many nights cost in its cheaper hotel."""


class Short(msgspec.Struct, frozen=True, tag="short"):
    """One fact."""

    town: str
    topic: Topic
    fact: Fact


class Outside(msgspec.Struct, frozen=True, tag="outside"):
    """Not about the Atlas; wants an honest no."""


Task = Guide | Comparison | Choice | Chain | Short | Outside
