from __future__ import annotations

from itertools import islice

import pytest
from hypothesis import given
from hypothesis import strategies as st

from flowdecode_graphs.atlas import ATLAS, questions, reference
from flowdecode_graphs.atlas.claims import NOWHERE, read_claims
from flowdecode_graphs.atlas.facts import Fact, all_facts

TOWN, OTHER = ATLAS.towns[:2]
FIRST, SECOND = TOWN.hotels


@pytest.mark.parametrize(
    "text",
    [
        f"The River {TOWN.river} flows through {TOWN.name}.",
        f"{TOWN.name}'s river is the {TOWN.river.upper()}",
        f"## {TOWN.name}\n\nIts river: **{TOWN.river}**",
        f"1. Nature in {TOWN.name}: on the {TOWN.river}",
        f"I know {TOWN.name} well. It lies on the {TOWN.river}.",
    ],
)
def test_a_fact_in_many_forms(text: str) -> None:
    assert read_claims(text) == [Fact(TOWN.name, "river", TOWN.river)]


def test_without_a_town_the_one_that_was_asked_about_is_meant() -> None:
    assert read_claims(f"The river is the {TOWN.river}.") == [Fact(NOWHERE, "river", TOWN.river)]
    assert read_claims(f"The river is the {TOWN.river}.", TOWN.name) == [Fact(TOWN.name, "river", TOWN.river)]


def test_two_towns_in_a_sentence() -> None:
    assert read_claims(
        f"{TOWN.name} was founded in 1,210 and {OTHER.name} in 1300, with 40 metres of {OTHER.stone}."
    ) == [
        Fact(TOWN.name, "year", "1210"),
        Fact(OTHER.name, "year", "1300"),
        Fact(OTHER.name, "height", "40"),
        Fact(OTHER.name, "stone", OTHER.stone),
    ]


def test_another_town_in_passing_does_not_change_the_subject() -> None:
    text = f"## Food in {TOWN.name}\n\nUnlike {OTHER.name}, it is poor. People eat {TOWN.dish}."
    assert read_claims(text) == [Fact(TOWN.name, "dish", TOWN.dish)]


@pytest.mark.parametrize(
    "text",
    [
        "The {0} stands in {1} and costs {2} a night.",
        "In {1} there is the {0}, where a night costs {2}.",
        "Take the {0}. It is in {1}. 3 nights there are not cheap at {2}.",
        "- **{0}** ({1}): {2}",
    ],
)
def test_a_hotel_in_many_forms(text: str) -> None:
    found = read_claims(text.format(FIRST.name, FIRST.district, FIRST.price), TOWN.name)
    assert set(found) == {
        Fact(TOWN.name, "hotel", FIRST.name),
        Fact(FIRST.name, "district", FIRST.district),
        Fact(FIRST.name, "price", str(FIRST.price)),
    }


def test_districts_and_prices_are_not_mixed_up() -> None:
    text = f"The {FIRST.name} is in {SECOND.district} for 35, the {SECOND.name} in {FIRST.district} for 45."
    assert set(read_claims(text, TOWN.name)) - all_facts() == {
        Fact(FIRST.name, "district", SECOND.district),
        Fact(FIRST.name, "price", "35"),
        Fact(SECOND.name, "district", FIRST.district),
        Fact(SECOND.name, "price", "45"),
    }


def test_sights_share_the_district_of_their_sentence() -> None:
    one, two = FIRST.sights
    text = f"The {one.name} ({one.ticket}) and the {two.name} ({two.ticket}) are both in {FIRST.district}."
    assert set(read_claims(text, TOWN.name)) == {
        Fact(TOWN.name, "sight", one.name),
        Fact(one.name, "ticket", str(one.ticket)),
        Fact(one.name, "district", FIRST.district),
        Fact(TOWN.name, "sight", two.name),
        Fact(two.name, "ticket", str(two.ticket)),
        Fact(two.name, "district", FIRST.district),
    }


def test_endless_numbers_are_no_claims() -> None:
    assert read_claims(f"The {FIRST.name} costs {'7' * 5000}.", TOWN.name) == [
        Fact(TOWN.name, "hotel", FIRST.name)
    ]


def test_a_district_alone() -> None:
    assert read_claims(f"Walk through {FIRST.district}.", TOWN.name) == [
        Fact(TOWN.name, "district", FIRST.district)
    ]


def test_sums_are_not_facts() -> None:
    text = f"The {FIRST.name}: 3 x 40 = 120, 120 + 15 = 135."
    assert read_claims(text, TOWN.name) == [Fact(TOWN.name, "hotel", FIRST.name)]


def test_reference_answers_say_only_what_is_true() -> None:
    for question in islice(questions("train", 5), 300):
        if question.kind != "outside":
            assert set(read_claims(reference(question).text)) <= all_facts()


@given(st.text(), st.sampled_from(sorted(all_facts())))
def test_any_text_can_be_read(text: str, fact: Fact) -> None:
    read_claims(f"{text} {fact}\n{text}")
