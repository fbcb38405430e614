"""What is true in the Atlas, as facts that an answer gets right or wrong."""

from __future__ import annotations

from functools import cache
from typing import Literal, NamedTuple, get_args

from flowdecode_graphs.atlas.world import ATLAS, Hotel, Town

__all__ = [
    "FIELDS",
    "TOPICS",
    "Fact",
    "Topic",
    "all_facts",
    "district_facts",
    "hotel_facts",
    "sight_facts",
    "topic_facts",
]

Topic = Literal["nature", "history", "landmark", "food", "festival", "craft", "hotels", "sights"]
TOPICS: tuple[Topic, ...] = get_args(Topic)

FIELDS: dict[Topic, tuple[str, ...]] = {
    "nature": ("region", "river", "climate", "season"),
    "history": ("year", "founder", "origin"),
    "landmark": ("landmark", "height", "stone"),
    "food": ("dish", "ingredient", "drink"),
    "festival": ("festival", "month", "custom"),
    "craft": ("craft", "weekday", "mark"),
}
"""The fields of a town that a topic is about, where it is not hotels or sights."""


class Fact(NamedTuple):
    """One thing that is so, or that a text says is so."""

    subject: str
    """A town, a hotel or a sight."""
    name: str
    """A field of a town; `hotel` or `sight` of a town; `district` of all three; `price`; `ticket`."""
    value: str

    def __str__(self) -> str:
        return f"{self.subject}'s {self.name} is {self.value}"


@cache
def topic_facts(town: str, topic: Topic) -> tuple[Fact, ...]:
    """What a part about the topic has to say."""
    known = ATLAS[town]
    if topic == "hotels":
        return tuple(fact for hotel in known.hotels for fact in hotel_facts(known, hotel))
    if topic == "sights":
        return tuple(fact for hotel in known.hotels for fact in sight_facts(known, hotel))
    return tuple(Fact(town, name, str(getattr(known, name))) for name in FIELDS[topic])


def hotel_facts(town: Town, hotel: Hotel) -> tuple[Fact, ...]:
    """What there is to say of one hotel."""
    return (
        Fact(town.name, "hotel", hotel.name),
        Fact(hotel.name, "district", hotel.district),
        Fact(hotel.name, "price", str(hotel.price)),
    )


def sight_facts(town: Town, hotel: Hotel) -> tuple[Fact, ...]:
    """What there is to say of the sights in one hotel's district."""
    return tuple(
        fact
        for sight in hotel.sights
        for fact in (
            Fact(town.name, "sight", sight.name),
            Fact(sight.name, "ticket", str(sight.ticket)),
            Fact(sight.name, "district", hotel.district),
        )
    )


def district_facts(town: Town) -> tuple[Fact, ...]:
    """Which districts a town has: true, and never asked for."""
    return tuple(Fact(town.name, "district", hotel.district) for hotel in town.hotels)


@cache
def all_facts() -> frozenset[Fact]:
    """Everything that is true."""
    asked = {fact for town in ATLAS.towns for topic in TOPICS for fact in topic_facts(town.name, topic)}
    return frozenset(asked.union(*map(district_facts, ATLAS.towns)))
