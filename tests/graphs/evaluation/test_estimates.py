from __future__ import annotations

import math
import random

import pytest

from flowdecode_graphs.evaluation.estimates import estimate


def test_repeats_of_a_prompt_count_as_one_value() -> None:
    found = estimate([[1.0, 3.0], [4.0]])
    assert found is not None
    assert (found.value, found.count) == (3.0, 2)
    assert found.low == 2.0
    assert found.high == 4.0


def test_a_geometric_mean_of_ratios() -> None:
    found = estimate([[0.5], [2.0], [0.0]], "geometric")
    assert found is not None
    assert found.value == pytest.approx(1.0)
    assert [found.low, found.high] == pytest.approx([0.5, 2.0])
    assert found.count == 2


def test_nothing_gives_nothing() -> None:
    assert estimate([]) is None
    assert estimate([[], []]) is None
    assert estimate([[0.0]], "geometric") is None


def test_the_interval_holds_the_truth_about_as_often_as_it_says() -> None:
    """The percentile bootstrap of 40 values covers a little less than 95 %."""
    chance = random.Random(5)
    held = 0
    for _ in range(300):
        found = estimate([[chance.lognormvariate(0.4, 0.5)] for _ in range(40)], "geometric")
        assert found is not None
        assert found.low < found.value < found.high
        held += found.low <= math.exp(0.4) <= found.high
    assert 0.90 <= held / 300 <= 0.98
