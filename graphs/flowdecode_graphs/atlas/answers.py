"""The reference answer to every question: its parts, and the plan behind them."""

from __future__ import annotations

import re
from collections.abc import Sequence
from functools import cache
from math import ceil
from statistics import mean
from typing import Literal

import msgspec

from flowdecode.plan import Plan, PlanNode
from flowdecode_graphs.atlas import prose, stay
from flowdecode_graphs.atlas.facts import Fact, Topic
from flowdecode_graphs.atlas.outside import REFUSAL
from flowdecode_graphs.atlas.question import Question
from flowdecode_graphs.atlas.tasks import (
    CLUES,
    Chain,
    Choice,
    Comparison,
    Criterion,
    Guide,
    Outside,
    Short,
)
from flowdecode_graphs.atlas.world import ATLAS

__all__ = ["Part", "Reference", "Route", "reference", "rough_tokens"]

Route = Literal["A", "B", "C"]

# Tokens of the parts that are not about topics, to tens.
TOWN_TOKENS = 20
CHEAPER_TOKENS = 30
HOTEL_TOKENS = 60
DAY_TOKENS = 80
ROOM_TOKENS = 20
COST_TOKENS = 50
VERDICT_TOKENS = 40

_VERDICTS: dict[Criterion, str] = {
    "older": "{first} was founded in {first_value} and {second} in {second_value}, so {winner} is the older "
    "town.",
    "cheaper": "{first} has a room for {first_value} and {second} has one for {second_value}, so {winner} is "
    "cheaper to sleep in.",
    "taller": "{first} builds to {first_value} metres and {second} to {second_value} metres, so {winner} has "
    "the taller landmark.",
}


class Part(msgspec.Struct, frozen=True):
    """What one node writes."""

    title: str
    """In the plan."""
    heading: str
    """Above the text: it names topic and town."""
    body: str
    expected_tokens: int
    parents: tuple[int, ...] = ()
    shown: bool = True

    @property
    def text(self) -> str:
        """Heading and body."""
        return f"## {self.heading}\n\n{self.body}" if self.heading else self.body


class Reference(msgspec.Struct, frozen=True):
    """A right answer, in the form of every strategy."""

    parts: tuple[Part, ...]
    """The ids of the plan are their places, from 1."""
    route: Route
    """What Skeleton-of-Thought's router should say: points that are independent, or not, or none."""
    direct: bool = False
    """Whether a plan has nothing to gain: one part, or a chain."""

    @property
    def text(self) -> str:
        """The sequential answer: the shown parts one after the other."""
        return "\n\n".join(part.text for part in self.shown)

    @property
    def shown(self) -> tuple[Part, ...]:
        """The parts that the reader sees."""
        return tuple(part for part in self.parts if part.shown)

    @property
    def plan(self) -> Plan:
        """The parts without their texts."""
        return Plan(
            tuple(
                PlanNode(
                    id=node_id,
                    title=part.title,
                    parents=part.parents,
                    expected_tokens=part.expected_tokens,
                    shown=part.shown,
                )
                for node_id, part in enumerate(self.parts, start=1)
            )
        )

    @property
    def skeleton(self) -> str:
        """The points' headings as a numbered list."""
        return "\n".join(
            f"{number}. {part.heading or part.title}" for number, part in enumerate(self.shown, start=1)
        )

    @property
    def points(self) -> tuple[str, ...]:
        """The shown parts as the points of the skeleton, each behind its line."""
        lines = self.skeleton.splitlines()
        return tuple(f"{line}: {part.body}" for line, part in zip(lines, self.shown, strict=True))


def reference(question: Question) -> Reference:
    """The reference answer, which depends on nothing but what is asked."""
    match task := question.task:
        case Guide(town=town, topics=topics, long=long):
            return Reference(tuple(_topic_part(town, topic, long=long) for topic in topics), route="A")
        case Comparison():
            towns = [_topics_part(town, task.topics) for town in (task.first, task.second)]
            return Reference((*towns, _verdict(task)), route="B")
        case Choice():
            return Reference(_stay_parts(task), route="B")
        case Chain(town=town, topics=()):
            found = _town_part(task, shown=True)
            return Reference((found, *_cost_parts(town, task.nights)), route="B", direct=True)
        case Chain(town=town, topics=topics):
            parts = [_topic_part(town, topic, long=True, parents=(1,)) for topic in topics]
            return Reference((_town_part(task, shown=False), *parts), route="B")
        case Short(town=town, topic=topic, fact=fact):
            return Reference((_fact_part(town, topic, fact),), route="C", direct=True)
        case Outside():
            part = Part("Answer", "", REFUSAL, _tens(rough_tokens(REFUSAL)))
            return Reference((part,), route="C", direct=True)


def rough_tokens(text: str) -> int:
    """About how many tokens a vocabulary of the Atlas's own words needs: words, numbers and marks."""
    return len(_TOKEN.findall(text))


_TOKEN = re.compile(r"\w+|[^\w\s]")


def _topic_part(town: str, topic: Topic, *, long: bool = False, parents: tuple[int, ...] = ()) -> Part:
    return Part(
        title=topic.capitalize(),
        heading=f"{topic.capitalize()} in {town}",
        body=prose.body(town, topic, long=long),
        expected_tokens=_expected((topic,), long=long),
        parents=parents,
    )


def _topics_part(town: str, topics: Sequence[Topic]) -> Part:
    """Several topics under one heading."""
    return Part(
        title=town,
        heading=f"{_listed(topics).capitalize()} in {town}",
        body=" ".join(prose.body(town, topic, long=False) for topic in topics),
        expected_tokens=_expected(tuple(topics), long=False),
    )


def _verdict(task: Comparison) -> Part:
    verdict = _VERDICTS[task.criterion].format(
        first=task.first,
        second=task.second,
        first_value=task.value(task.first),
        second_value=task.value(task.second),
        winner=task.winner,
    )
    heading = f"Verdict on {task.first} and {task.second}"
    body = f"{verdict} If that is what counts for you, go to {task.winner}."
    return Part("Verdict", heading, body, VERDICT_TOKENS, parents=(1, 2))


def _stay_parts(task: Choice) -> tuple[Part, ...]:
    """The hotel, what was asked besides, two days and the cost."""
    town = ATLAS[task.town]
    hotel = town.hotels[task.hotel]
    besides = [_topic_part(task.town, topic) for topic in task.topics]
    days = [
        Part(
            f"Day {number}",
            f"Day {number} in {task.town}",
            stay.day_body(town, hotel, index),
            DAY_TOKENS,
            parents=(1,),
        )
        for index, number in enumerate(("one", "two"))
    ]
    needed = (1, len(besides) + 2, len(besides) + 3)
    return (
        Part("Hotel", f"Hotel in {task.town}", stay.hotel_body(town, hotel), HOTEL_TOKENS),
        *besides,
        *days,
        Part("Cost", f"Cost in {task.town}", stay.cost_body(hotel, task.nights), COST_TOKENS, parents=needed),
    )


def _town_part(task: Chain, *, shown: bool) -> Part:
    """The town that has what the clue says."""
    fact = Fact(task.town, task.clue, getattr(ATLAS[task.town], task.clue))
    body = prose.sentence(task.town, CLUES[task.clue], fact)
    return Part("Town", f"The town is {task.town}", body, TOWN_TOKENS, shown=shown)


def _cost_parts(town: str, nights: int) -> tuple[Part, Part]:
    """The cheaper hotel, then what the nights cost there."""
    first, second = ATLAS[town].hotels
    cheaper = ATLAS[town].cheaper
    body = (
        f"The {first.name} costs {first.price} a night and the {second.name} costs {second.price} a night, "
        f"so the {cheaper.name} is cheaper."
    )
    return (
        Part("Hotel", f"Cheaper hotel in {town}", body, CHEAPER_TOKENS, parents=(1,)),
        Part("Cost", f"Cost in {town}", stay.room_body(cheaper, nights), ROOM_TOKENS, parents=(2,)),
    )


def _fact_part(town: str, topic: Topic, fact: Fact) -> Part:
    """A short answer."""
    body = prose.sentence(town, topic, fact)
    part = Part(topic.capitalize(), f"{topic.capitalize()} in {town}", body, 0)
    return msgspec.structs.replace(part, expected_tokens=_tens(rough_tokens(part.text)))


@cache
def _expected(topics: tuple[Topic, ...], *, long: bool) -> int:
    """Tokens of a part, the same for all towns: what a plan says must follow from its question."""
    heading = f"## {_listed(topics)} in one town"
    texts = [[prose.body(town.name, topic, long=long) for topic in topics] for town in ATLAS.towns]
    return _tens(mean(rough_tokens(" ".join([heading, *bodies])) for bodies in texts))


def _tens(tokens: float) -> int:
    return ceil(tokens / 10) * 10


def _listed(topics: Sequence[str]) -> str:
    """`food, history and hotels`."""
    return " and ".join([", ".join(topics[:-1]), topics[-1]] if len(topics) > 1 else topics)
