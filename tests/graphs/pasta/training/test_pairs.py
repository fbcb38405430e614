"""Which samples become a pair."""

from __future__ import annotations

import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from flowdecode.errors import ConfigurationError
from flowdecode_graphs.pasta.training.pairs import Pair, best_and_worst, pairs_of, read_lambda
from flowdecode_graphs.pasta.training.scores import Score

INFINITE = math.inf


def scores(*values: tuple[float, float] | tuple[float, float, bool], item: str = "a") -> list[Score]:
    return [
        Score(
            item=item,
            sample=number,
            speedup=value[0],
            quality=value[1],
            well_formed=value[2] if len(value) == 3 else True,
        )
        for number, value in enumerate(values, start=1)
    ]


def chosen(of: list[Score], weight: float) -> tuple[int, int] | None:
    pair = best_and_worst(of, weight)
    return None if pair is None else (pair.best.sample, pair.worst.sample)


@pytest.mark.parametrize(
    ("weight", "expected"), [(0, (1, 2)), (1, (1, 2)), (2, (3, 2)), (8, (2, 1)), (INFINITE, (2, 1))]
)
def test_lambda_decides_how_much_quality_weighs(weight: float, expected: tuple[int, int]) -> None:
    assert chosen(scores((3.0, 0.1), (1.0, 1.0), (2.0, 0.7)), weight) == expected


def test_with_quality_alone_speedup_decides_between_the_same() -> None:
    assert chosen(scores((1.0, 0.5), (2.0, 0.5)), INFINITE) == (2, 1)
    assert chosen(scores((5.0, 0.4), (1.0, 0.5), (2.0, 0.5)), INFINITE) == (3, 1)


@pytest.mark.parametrize("weight", [0.0, 1.0, INFINITE])
def test_equal_scores_make_no_pair(weight: float) -> None:
    assert chosen(scores((2.0, 0.5), (2.0, 0.5)), weight) is None
    assert chosen(scores((2.0, 0.5)), weight) is None
    assert chosen([], weight) is None
    assert chosen(scores((1.1 + 2.2, 0.5), (3.3, 0.5)), weight) is None, "equal but for rounding"


def test_what_is_broken_is_never_preferred() -> None:
    assert chosen(scores((9.0, 1.0, False), (1.0, 0.5), (1.0, 0.4)), 1.0) == (2, 3)
    assert chosen(scores((0.5, 0.0, False), (1.0, 0.5), (1.0, 0.4)), 1.0) == (2, 1)
    assert chosen(scores((9.0, 1.0, False), (1.0, 0.5)), 1.0) is None, "the only whole one is the worst"
    assert chosen(scores((9.0, 1.0, False), (1.0, 0.5, False)), 1.0) is None


@given(
    st.lists(st.tuples(st.floats(0, 100), st.floats(0, 1), st.booleans()), max_size=12),
    st.sampled_from([0.0, 1.0, 4.0, INFINITE]),
)
def test_the_best_is_whole_and_better_than_the_worst(
    values: list[tuple[float, float, bool]], weight: float
) -> None:
    pair = best_and_worst(scores(*values), weight)
    if pair is None:
        return
    assert pair.best.well_formed
    if math.isinf(weight):
        assert pair.best.quality > pair.worst.quality - 1e-9
    else:
        total = [score.speedup + weight * score.quality for score in (pair.best, pair.worst)]
        assert total[0] > total[1] - 1e-9


def test_every_prompt_has_one_pair_or_none() -> None:
    of_all = [
        *scores((1.0, 0.5), (2.0, 0.5)),
        *scores((1.0, 0.5), item="b"),
        *scores((2.0, 0.1), (1.0, 0.1), item="c"),
    ]
    assert pairs_of(of_all, 1.0) == [Pair(of_all[1], of_all[0]), Pair(of_all[3], of_all[4])]


@pytest.mark.parametrize("text", ["-1", "nan", "much", ""])
def test_other_lambdas_are_refused(text: str) -> None:
    with pytest.raises(ConfigurationError, match="numbers from 0 on, or inf"):
        read_lambda(text)
    assert (read_lambda("inf"), read_lambda("0.5")) == (INFINITE, 0.5)
