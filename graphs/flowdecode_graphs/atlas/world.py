"""The Atlas: twenty made-up towns, drawn from a fixed seed, with about thirty facts each."""

from __future__ import annotations

from functools import cached_property

import msgspec

from flowdecode_graphs.atlas.dice import Dice
from flowdecode_graphs.atlas.names import CRAFTS, SHARED, made_up, paired

__all__ = ["ATLAS", "Hotel", "Sight", "Town", "World"]

SEED = 7
TOWNS = 20
TICKETS = (5, 10, 15)
PRICES = (30, 40, 50, 60, 70, 80, 90)
YEARS = range(1010, 1900, 10)
HEIGHTS = range(21, 99)


class Sight(msgspec.Struct, frozen=True):
    """Something to see."""

    name: str
    ticket: int


class Hotel(msgspec.Struct, frozen=True):
    """A hotel, and what there is in its district."""

    name: str
    district: str
    price: int
    """Of a night."""
    sights: tuple[Sight, Sight]


class Town(msgspec.Struct, frozen=True, kw_only=True):
    """All that is known of a town. The fields with a text or a number are facts, by the fields' names."""

    name: str
    region: str
    river: str
    climate: str
    season: str
    """The best time for a visit."""
    year: int
    """Of its founding."""
    founder: str
    origin: str
    """What it was at first."""
    landmark: str
    height: int
    """Of the landmark, in metres."""
    stone: str
    """What the landmark is built of."""
    dish: str
    ingredient: str
    drink: str
    festival: str
    month: str
    custom: str
    craft: str
    weekday: str
    """When the craft's pieces are sold."""
    mark: str
    """The guild's."""
    hotels: tuple[Hotel, Hotel]
    """Never at the same price."""

    @property
    def cheaper(self) -> Hotel:
        """The hotel with the lower price."""
        return min(self.hotels, key=lambda hotel: hotel.price)


class World(msgspec.Struct, frozen=True, dict=True):
    """Towns by name."""

    towns: tuple[Town, ...]

    def __getitem__(self, name: str) -> Town:
        return self._by_name[name]

    @cached_property
    def _by_name(self) -> dict[str, Town]:
        return {town.name: town for town in self.towns}


def _build() -> World:
    """Draw each kind from dice of its own, so that a change of one leaves the others as they were."""
    words = {kind: made_up(kind, TOWNS, _dice(kind)) for kind in ("town", "river", "founder", "dish")}
    words |= {kind: paired(kind, TOWNS, _dice(kind)) for kind in ("landmark", "festival")}
    words |= {kind: _dice(kind).spread(names, TOWNS) for kind, names in SHARED.items()}
    words["craft"] = _dice("craft").sample(CRAFTS, TOWNS)
    names = words.pop("town")
    years = _dice("year").sample(YEARS, TOWNS)
    heights = _dice("height").sample(HEIGHTS, TOWNS)
    hotels = _hotels()
    return World(
        tuple(
            Town(
                name=name,
                year=years[index],
                height=heights[index],
                hotels=(hotels[2 * index], hotels[2 * index + 1]),
                **{kind: drawn[index] for kind, drawn in words.items()},
            )
            for index, name in enumerate(names)
        )
    )


def _hotels() -> list[Hotel]:
    """Two for each town, one after the other."""
    names = paired("hotel", 2 * TOWNS, _dice("hotel"))
    districts = paired("district", 2 * TOWNS, _dice("district"))
    tickets = _dice("ticket").spread(TICKETS, 4 * TOWNS)
    sights = list(map(Sight, paired("sight", 4 * TOWNS, _dice("sight")), tickets))
    price = _dice("price")
    prices = [each for _ in range(TOWNS) for each in price.sample(PRICES, 2)]
    return [
        Hotel(name, district, prices[index], (sights[2 * index], sights[2 * index + 1]))
        for index, (name, district) in enumerate(zip(names, districts, strict=True))
    ]


def _dice(kind: str) -> Dice:
    return Dice("atlas", SEED, kind)


ATLAS = _build()
