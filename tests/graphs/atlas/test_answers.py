from __future__ import annotations

from itertools import islice

import pytest
from hypothesis import given
from hypothesis import strategies as st

from flowdecode_graphs.atlas import ATLAS, KINDS, Kind, Question, questions, reference
from flowdecode_graphs.atlas.answers import rough_tokens
from flowdecode_graphs.atlas.tasks import Choice, Guide, Outside
from flowdecode_graphs.plato.grammar import MAX_NODES, MAX_TITLE
from flowdecode_graphs.plato.language import PlanParser, plan_text

kinds = st.sampled_from(KINDS)


def question_of(kind: Kind, seed: int) -> Question:
    return next(questions("train", seed, kind))


any_question = st.builds(question_of, kinds, st.integers(0))


@given(any_question)
def test_plans_are_read_as_they_are_printed(question: Question) -> None:
    plan = reference(question).plan
    parser = PlanParser()
    parser.feed(plan_text(plan.nodes))
    assert [node.id for node in plan.nodes] == list(range(1, len(plan.nodes) + 1))
    assert [(node.title, node.parents, node.expected_tokens, node.shown) for node in parser.nodes] == [
        (node.title, node.parents, node.expected_tokens, node.shown) for node in plan.nodes
    ]
    assert not parser.remarks


@given(any_question)
def test_a_plan_is_wanted_where_it_gains(question: Question) -> None:
    answer = reference(question)
    assert (answer.plan.parallelism > 1) is not answer.direct
    assert len(answer.plan.nodes) <= MAX_NODES
    assert all(len(node.title) <= MAX_TITLE for node in answer.plan.nodes)


@given(any_question)
def test_lengths_are_about_right(question: Question) -> None:
    for part in reference(question).parts:
        assert abs(part.expected_tokens - rough_tokens(part.text)) <= 10 + 0.2 * part.expected_tokens


@given(any_question)
def test_every_part_begins_with_topic_and_town(question: Question) -> None:
    answer = reference(question)
    assert answer.text == "\n\n".join(part.text for part in answer.shown)
    if not isinstance(question.task, Outside):
        names = {town.name for town in ATLAS.towns}
        assert all(part.text.startswith(f"## {part.heading}\n\n") for part in answer.parts)
        assert all(names & set(part.heading.split()) for part in answer.parts)


@given(any_question)
def test_points_open_with_the_skeletons_lines(question: Question) -> None:
    answer = reference(question)
    for line, point in zip(answer.skeleton.splitlines(), answer.points, strict=True):
        assert point.startswith(f"{line}: ")


def test_long_guides_have_four_long_parts() -> None:
    for question in islice(questions("train", 1, "guide"), 200):
        if isinstance(question.task, Guide) and question.task.long:
            parts = reference(question).parts
            assert len(parts) >= 4
            assert all(rough_tokens(part.text) >= 80 for part in parts)


@pytest.mark.parametrize(
    ("kind", "routes"),
    [("guide", "A"), ("comparison", "B"), ("choice", "B"), ("chain", "B"), ("short", "C"), ("outside", "C")],
)
def test_the_router_is_told_what_depends_on_what(kind: Kind, routes: str) -> None:
    assert {reference(question).route for question in islice(questions("train", 1, kind), 20)} == set(routes)


def test_a_choice_comes_before_what_depends_on_it() -> None:
    answer = reference(Question("", Choice(ATLAS.towns[0].name, ("food",), nights=3, hotel=1)))
    assert plan_text(answer.plan.nodes) == (
        "1. Hotel (60)\n2. Food (30)\n3. Day one (80) <- 1\n4. Day two (80) <- 1\n5. Cost (50) <- 1, 3, 4\n"
    )
    assert ATLAS.towns[0].hotels[1].name in answer.parts[0].text
