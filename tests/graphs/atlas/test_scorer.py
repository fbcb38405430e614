from __future__ import annotations

from statistics import mean

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from flowdecode_graphs.atlas import (
    ATLAS,
    KINDS,
    REFUSAL,
    Kind,
    Question,
    Reference,
    heldout_questions,
    questions,
    reference,
    score,
)
from flowdecode_graphs.atlas.facts import Fact
from flowdecode_graphs.atlas.tasks import Chain, Choice, Comparison, Guide, Outside, Short
from flowdecode_graphs.prompts import Prompts
from tests.graphs.atlas.spoilt import SPOILERS

TOWN, OTHER = ATLAS.towns[:2]
GUIDE = Question("", Guide(TOWN.name, ("food", "history", "hotels", "craft"), long=True))
COMPARISON = Question("", Comparison(TOWN.name, OTHER.name, ("history", "food"), "older"))
CHOICE = Question("", Choice(TOWN.name, (), nights=3, hotel=0))
COST = Question("", Chain(TOWN.name, "river", nights=2))


def question_of(kind: Kind, seed: int) -> Question:
    return next(questions("train", seed, kind))


def as_plato(answer: Reference) -> str:
    """With the standard prompts: a heading from the plan above every part."""
    headed = [Prompts().heading.replace("{title}", part.title) + part.text for part in answer.shown]
    return Prompts().gap.join(headed)


@given(st.builds(question_of, st.sampled_from(KINDS), st.integers(0)))
def test_reference_answers_are_perfect_in_every_form(question: Question) -> None:
    answer = reference(question)
    for text in (answer.text, as_plato(answer), "\n".join(answer.points)):
        assert score(question, text).value == 1.0, score(question, text).reasons


@pytest.mark.parametrize("name", SPOILERS)
def test_bad_answers_score_low(name: str) -> None:
    for kind in KINDS:
        asked = [question for question in heldout_questions() if question.kind == kind]
        spoilt = [(question, SPOILERS[name](question)) for question in asked]
        values = [score(each, text).value for each, text in spoilt if text != reference(each).text]
        assert max(values, default=0.0) <= 0.5
        assert mean(values or [0.0]) < 0.3


@pytest.mark.parametrize("kind", KINDS)
def test_any_text_has_a_score(kind: Kind) -> None:
    for text in ("", "\n", "## ", "1. ", "= 3", "**", "I don't know.", "older cheaper taller 5 + 5 = 11"):
        assert score(question_of(kind, 1), text).value == 0.0


@given(st.sampled_from(KINDS), st.text())
def test_no_text_breaks_it(kind: Kind, text: str) -> None:
    question = question_of(kind, 1)
    assert 0.0 <= score(question, f"{reference(question).text}{text}").value <= 1.0


def test_markup_and_case_do_not_matter() -> None:
    text = reference(GUIDE).text
    for form in (
        text.lower(),
        text.replace("## ", "### "),
        text.replace(". ", ".\n- "),
        text.replace(TOWN.dish, f"**{TOWN.dish}**"),
        text.replace(str(TOWN.year), f"{TOWN.year:,}"),
    ):
        assert score(GUIDE, form).value == 1.0


def test_other_words_for_the_same() -> None:
    question = Question("", Guide(TOWN.name, ("food", "history"), long=False))
    text = (
        f"{TOWN.founder} started {TOWN.name} as a little {TOWN.origin}, back in {TOWN.year}.\n"
        f"- {TOWN.ingredient.capitalize()} go into {TOWN.dish}\n- {TOWN.drink} is on every table"
    )
    assert score(question, text).value == 1.0


def test_a_wrong_fact_costs_more_than_a_missing_one() -> None:
    text = reference(GUIDE).text
    wrong = score(GUIDE, text.replace(TOWN.dish, OTHER.dish))
    missing = score(GUIDE, text.replace(TOWN.dish, "it"))
    assert wrong.facts < missing.facts < 1.0
    assert f"wrong: {TOWN.name}'s dish is {OTHER.dish}" in wrong.reasons
    assert missing.reasons == (f"missing: {TOWN.name}'s dish is {TOWN.dish}",)


def test_what_was_not_asked_for_costs_too() -> None:
    judged = score(GUIDE, f"{reference(GUIDE).text} The river there is the {TOWN.river}.")
    assert judged.facts < 1.0
    assert judged.reasons == (f"not asked for: {TOWN.name}'s river is {TOWN.river}",)


def test_a_missing_part_is_not_covered() -> None:
    parts = reference(GUIDE).shown
    judged = score(GUIDE, "\n\n".join(part.text for part in parts[:3]))
    assert judged.coverage == 0.75
    assert "not covered: craft" in judged.reasons


def test_a_part_written_twice_is_repeated() -> None:
    parts = reference(GUIDE).shown
    judged = score(GUIDE, "\n\n".join(part.text for part in (*parts, parts[0])))
    assert judged.facts == judged.coverage == 1.0
    assert 0.5 < judged.value < 0.9
    assert judged.reasons == ("repeated: 20%",)


def test_two_towns_may_be_described_in_the_same_words() -> None:
    towns = ATLAS.towns[0].name, ATLAS.towns[3].name  # one wording
    question = Question("", Comparison(*towns, ("history", "food"), "older"))
    assert score(question, reference(question).text).freshness == 1.0


def test_a_wrong_verdict() -> None:
    task = COMPARISON.task
    assert isinstance(task, Comparison)
    loser = task.second if task.winner == task.first else task.first
    text = reference(COMPARISON).text.replace(f"so {task.winner}", f"so {loser}")
    judged = score(COMPARISON, text)
    assert judged.consistency == 0.5
    assert judged.coverage == pytest.approx(2 / 3)
    assert {"wrong: which is older", "not covered: older"} <= set(judged.reasons)


@pytest.mark.parametrize(
    ("verdict", "right"),
    [
        ("{winner} is older than {loser}.", True),
        ("{loser} is older than {winner}.", False),
        ("Of {winner} and {loser}, {winner} is the older one.", True),
        ("The older town is {winner}, not {loser}.", True),
        ("{winner} is older: {winner_year} comes before {loser_year}.", True),
        ("{winner} is older: {winner_year} comes before 1999.", False),
        ("Go to {winner}.", None),
    ],
)
def test_verdicts_in_other_words(verdict: str, right: bool | None) -> None:
    task = COMPARISON.task
    assert isinstance(task, Comparison)
    loser = task.second if task.winner == task.first else task.first
    years = {"winner_year": task.value(task.winner), "loser_year": task.value(loser)}
    parts = [part.text for part in reference(COMPARISON).shown[:2]]
    text = "\n\n".join([*parts, "## Verdict", verdict.format(winner=task.winner, loser=loser, **years)])
    judged = score(COMPARISON, text)
    assert judged.coverage == (1.0 if right else pytest.approx(2 / 3))
    assert judged.consistency == (0.5 if right is False else 1.0)


def test_either_hotel_may_be_chosen() -> None:
    task = CHOICE.task
    assert isinstance(task, Choice)
    other = Question("", msgspec.structs.replace(task, hotel=1))
    assert reference(other).text != reference(CHOICE).text
    assert score(CHOICE, reference(other).text).value == 1.0


def test_parts_that_can_not_see_the_choice_may_guess_wrong() -> None:
    task = CHOICE.task
    assert isinstance(task, Choice)
    guessed = reference(Question("", msgspec.structs.replace(task, hotel=1))).shown
    chosen = reference(CHOICE).shown
    days = score(CHOICE, "\n\n".join(part.text for part in (chosen[0], *guessed[1:3], chosen[3])))
    cost = score(CHOICE, "\n\n".join(part.text for part in (*chosen[:3], guessed[3])))
    assert days.consistency < 0.7
    assert days.value < 0.4
    assert cost.sums < 0.5
    assert cost.value < 0.4
    assert any(reason.startswith("forgets what was chosen") for reason in days.reasons)


def test_a_wrong_sum_and_a_missing_one() -> None:
    text = reference(COST).text
    total = 2 * TOWN.cheaper.price
    assert score(COST, text.replace(f"= {total}", f"= {total + 1}")).sums == 0.0
    assert score(COST, text.replace(f"2 x {TOWN.cheaper.price} = {total}", f"in total {total}")).value == 1.0
    assert f"not worked out: {total}" in score(COST, reference(COST).shown[0].text).reasons


def test_the_dearer_hotel() -> None:
    dearer = max(TOWN.hotels, key=lambda hotel: hotel.price)
    text = reference(COST).text.replace(f"so the {TOWN.cheaper.name}", f"so the {dearer.name}")
    assert score(COST, text).value < 0.4


def test_an_honest_no_is_short_and_for_others() -> None:
    question = Question("What is rain?", Outside())
    assert score(question, REFUSAL).value == 1.0
    assert score(question, f"{REFUSAL} By the way, {TOWN.name} eats {TOWN.dish}.").value == 0.0
    assert score(question, "Water.").reasons == ("answered a question that is not about the Atlas",)
    assert score(GUIDE, REFUSAL).reasons == ("refused a question about the Atlas",)


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("{dish}", 1.0),
        ("In {town} it is {dish}, with {drink}.", 1.0),
        ("In {town} it is {dish}, by the {river}.", 0.5),
        ("In {town} it is {wrong}.", 0.0),
        ("In {other} it is {dish}.", 0.0),
    ],
)
def test_a_short_fact_may_come_with_what_belongs_to_it(text: str, value: float) -> None:
    question = Question("", Short(TOWN.name, "food", Fact(TOWN.name, "dish", TOWN.dish)))
    names = {"town": TOWN.name, "dish": TOWN.dish, "drink": TOWN.drink, "river": TOWN.river}
    assert score(question, text.format(**names, wrong=OTHER.dish, other=OTHER.name)).value == value
