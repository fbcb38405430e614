from __future__ import annotations

import hashlib
from itertools import chain

import msgspec
import pytest

from flowdecode_graphs.atlas import ATLAS
from flowdecode_graphs.atlas.claims import mentions
from flowdecode_graphs.atlas.dice import Dice
from flowdecode_graphs.atlas.facts import TOPICS, Fact, all_facts, topic_facts
from flowdecode_graphs.atlas.names import SHARED, strangers
from flowdecode_graphs.atlas.world import PRICES, TICKETS

NAMES = [town.name for town in ATLAS.towns]
DIGEST = "9d4cebef5b74a3b0"


def test_the_world_is_the_same_everywhere() -> None:
    assert hashlib.sha256(msgspec.json.encode(ATLAS)).hexdigest()[:16] == DIGEST


def test_towns_begin_differently() -> None:
    assert len({name[:3] for name in NAMES}) == len(NAMES) == 20


def test_a_town_has_about_thirty_facts() -> None:
    for name in NAMES:
        values = {fact for topic in TOPICS for fact in topic_facts(name, topic)}
        assert 30 <= len(values) <= 40
        assert values <= all_facts()


def test_places_belong_to_one_town() -> None:
    hotels = [hotel for town in ATLAS.towns for hotel in town.hotels]
    sights = [sight.name for hotel in hotels for sight in hotel.sights]
    assert len({hotel.name for hotel in hotels}) == len({hotel.district for hotel in hotels}) == 40
    assert len(set(sights)) == 80


@pytest.mark.parametrize(
    "field", ["river", "founder", "dish", "landmark", "festival", "year", "height", "craft"]
)
def test_clues_belong_to_one_town(field: str) -> None:
    assert len({getattr(town, field) for town in ATLAS.towns}) == len(ATLAS.towns)


@pytest.mark.parametrize("field", SHARED)
def test_shared_values_all_occur(field: str) -> None:
    assert {getattr(town, field) for town in ATLAS.towns} == set(SHARED[field])


def test_prices_and_tickets() -> None:
    for town in ATLAS.towns:
        first, second = town.hotels
        assert first.price != second.price
        assert town.cheaper.price == min(first.price, second.price)
        assert {first.price, second.price} <= set(PRICES)
        assert {sight.ticket for hotel in town.hotels for sight in hotel.sights} <= set(TICKETS)


def test_every_value_names_one_thing() -> None:
    for fact in all_facts():
        if fact.name not in ("year", "height", "price", "ticket"):
            assert mentions(fact.value) == [(fact.name, fact.value)]


def test_strangers_are_strangers() -> None:
    dice = Dice("strangers")
    seen = {
        split: set(chain(*(strangers(dice, heldout=split) for _ in range(300)))) for split in (True, False)
    }
    assert seen[True].isdisjoint(seen[False])
    assert (seen[True] | seen[False]).isdisjoint(NAMES)


def test_facts_read_as_sentences() -> None:
    assert str(Fact("Nowhere", "river", "Dry")) == "Nowhere's river is Dry"


def test_dice_draw_the_same_everywhere() -> None:
    dice = Dice("a seed", 1)
    assert [dice.below(100) for _ in range(8)] == [79, 83, 0, 78, 7, 36, 82, 30]
    assert "".join(Dice(2).sample("abcdef", 6)) == "edbcfa"
    assert sorted(Dice(2).spread("abc", 9)) == sorted("aaabbbccc")


def test_dice_have_no_more_items_than_they_have() -> None:
    with pytest.raises(ValueError, match="at least 4 items to draw from, got 3"):
        Dice(1).sample("abc", 4)
