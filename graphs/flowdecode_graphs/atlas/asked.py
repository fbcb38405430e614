"""What a question wants to hear: facts by part, the pick that follows from them, and sums."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

import msgspec

from flowdecode_graphs.atlas.facts import Fact, Topic, district_facts, hotel_facts, sight_facts, topic_facts
from flowdecode_graphs.atlas.tasks import CLUES, Chain, Choice, Comparison, Guide, Outside, Short, Task
from flowdecode_graphs.atlas.world import ATLAS

__all__ = ["Asked", "Pick", "asked_of"]


class Pick(msgspec.Struct, frozen=True):
    """Which of two is the older, cheaper or taller one."""

    words: tuple[str, ...]
    """That say so."""
    options: tuple[str, str]
    right: str
    numbers: tuple[int, int]
    """What is compared."""


class Asked(msgspec.Struct, frozen=True, kw_only=True):
    """What an answer is measured against."""

    parts: dict[str, frozenset[Fact]] = {}
    """The facts that each part has to name, by the part's name."""
    allowed: frozenset[Fact] = frozenset()
    """True things that may be said besides."""
    pick: Pick | None = None
    sums: tuple[int, ...] = ()
    """Results that have to be worked out."""
    forgone: frozenset[str] = frozenset()
    """The hotel that was not chosen, its district and its sights."""

    @property
    def facts(self) -> frozenset[Fact]:
        """The facts of all parts."""
        return frozenset[Fact]().union(*self.parts.values())


def asked_of(task: Task, claimed: Sequence[Fact]) -> Asked:
    """What an answer that claims all this is measured against: a free choice is the answer's own."""
    match task:
        case Guide(town=town, topics=topics):
            return Asked(parts=_by_topic(town, topics), allowed=_about(town, topics))
        case Comparison():
            return _asked_of_comparison(task)
        case Choice():
            return _asked_of_choice(task, claimed)
        case Chain(town=town, topics=()):
            return _asked_of_cost(task)
        case Chain(town=town, clue=clue, topics=topics):
            return Asked(parts=_by_topic(town, topics), allowed=_about(town, [CLUES[clue], *topics]))
        case Short(town=town, topic=topic, fact=fact):
            return Asked(parts={fact.name: frozenset([fact])}, allowed=_about(town, [topic]))
        case Outside():
            return Asked()


def _asked_of_comparison(task: Comparison) -> Asked:
    towns = (task.first, task.second)
    return Asked(
        parts={town: _union(_by_topic(town, task.topics).values()) for town in towns},
        allowed=_union(_about(town, task.topics) for town in towns),
        pick=Pick(
            _WORDS[task.criterion], towns, task.winner, (task.value(task.first), task.value(task.second))
        ),
    )


def _asked_of_choice(task: Choice, claimed: Sequence[Fact]) -> Asked:
    """The hotel that the answer names first is its choice.

    A day is there when its sight is said to be in the chosen district: where the cost lists its ticket, it
    is only named.
    """
    town = ATLAS[task.town]
    first, second = town.hotels
    named = next((claim.value for claim in claimed if claim.name == "hotel"), town.hotels[task.hotel].name)
    hotel, other = (second, first) if named == second.name else (first, second)
    tickets, room = sum(sight.ticket for sight in hotel.sights), task.nights * hotel.price
    one, two = (Fact(sight.name, "district", hotel.district) for sight in hotel.sights)
    places = hotel_facts(town, hotel)
    sights = sight_facts(town, hotel)
    return Asked(
        parts={
            "hotel": frozenset(places),
            **_by_topic(task.town, task.topics),
            "day one": frozenset([one]),
            "day two": frozenset([two]),
            "cost": frozenset(fact for fact in sights if fact.name == "ticket"),
        },
        allowed=_about(task.town, task.topics) | {*places, *sights},
        sums=(tickets, room, tickets + room),
        forgone=frozenset({other.name, other.district, *(sight.name for sight in other.sights)}),
    )


def _asked_of_cost(task: Chain) -> Asked:
    town = ATLAS[task.town]
    first, second = town.hotels
    cheaper = town.cheaper
    return Asked(
        parts={
            "town": frozenset([Fact(task.town, task.clue, getattr(town, task.clue))]),
            "hotel": frozenset(fact for fact in hotel_facts(town, cheaper) if fact.name != "district"),
        },
        allowed=_about(task.town, [CLUES[task.clue], "hotels"]),
        pick=Pick(_WORDS["cheaper"], (first.name, second.name), cheaper.name, (first.price, second.price)),
        sums=(task.nights * cheaper.price,),
    )


def _by_topic(town: str, topics: Iterable[Topic]) -> dict[str, frozenset[Fact]]:
    return {topic: frozenset(topic_facts(town, topic)) for topic in topics}


def _about(town: str, topics: Iterable[Topic]) -> frozenset[Fact]:
    """All that can be said of the topics; in which districts a town has something is always welcome."""
    return _union([*_by_topic(town, topics).values(), frozenset(district_facts(ATLAS[town]))])


def _union(sets: Iterable[frozenset[Fact]]) -> frozenset[Fact]:
    return frozenset[Fact]().union(*sets)


_WORDS = {
    "older": ("older", "oldest", "elder"),
    "cheaper": ("cheaper", "cheapest"),
    "taller": ("taller", "tallest", "higher", "highest"),
}
