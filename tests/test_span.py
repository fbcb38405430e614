"""Work and span."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from flowdecode.span import Step, span_of


@st.composite
def dags(draw: st.DrawFn) -> list[Step]:
    return [
        Step(
            str(index),
            tuple(map(str, draw(st.lists(st.integers(0, index - 1), max_size=4)))) if index else (),
            draw(st.integers(0, 30)),
            draw(st.integers(0, 40)),
        )
        for index in range(draw(st.integers(0, 9)))
    ]


def chains(steps: list[Step], step: Step) -> list[int]:
    """The tokens of every chain that ends with `step`, wherever it begins."""
    parents = [by for by in steps if by.id in step.parents]
    lengths = [length for parent in parents for length in chains(steps, parent)]
    return [length + step.tokens for length in [step.offset, *lengths]]


@given(dags())
def test_is_the_longest_of_all_chains(steps: list[Step]) -> None:
    lengths = [length for step in steps for length in chains(steps, step)]
    assert span_of(iter(steps)) == max(lengths, default=0)


@given(dags())
def test_lies_between_the_longest_step_and_the_work(steps: list[Step]) -> None:
    work = sum(step.tokens for step in steps)
    longest = max((step.tokens for step in steps), default=0)
    assert longest <= span_of(steps) <= work + max((step.offset for step in steps), default=0)


def test_parents_that_are_not_listed_cost_nothing() -> None:
    assert span_of([Step("b", ("a",), 5)]) == 5


def test_a_plan_that_is_longer_than_the_parents_delays() -> None:
    assert span_of([Step(1, (), 10), Step(2, (1,), 5, offset=100)]) == 105
