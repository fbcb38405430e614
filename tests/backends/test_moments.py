"""How slow an engine's steps are, from its sums."""

from __future__ import annotations

import random
from collections.abc import Iterable, Sequence

import pytest

from flowdecode_backends.moments import NO_STEPS, Pace, counted

FIXED, EACH = 6.0, 1.0


def after(steps: Iterable[tuple[int, float]], before: Sequence[float] = NO_STEPS) -> Sequence[float]:
    for batch, time in steps:
        before = counted(before, batch, time)
    return before


def slowdown(pace: Pace, moments: Sequence[float] | None, batch: int) -> float | None:
    told = pace.read(moments, batch)
    return None if told is None else told[0]


def affine(batch: int) -> tuple[int, float]:
    return batch, FIXED + EACH * batch


def test_sums_are_what_sglang_tells() -> None:
    assert after([(2, 5.0), (3, 7.0)]) == (2, 5, 12, 13, 31)


@pytest.mark.parametrize(("batch", "expected"), [(0, 1.0), (1, 1.0), (8, 14 / 7), (36, 42 / 7)])
def test_a_line_is_found_at_the_first_reading(batch: int, expected: float) -> None:
    assert Pace().read(after(map(affine, [1, 9, 1, 4])), batch) == pytest.approx((expected, 1 / 7))


@pytest.mark.parametrize("moments", [None, [], [3.0, 3.0, 9.0], NO_STEPS, after([(5, 9.0)] * 7)], ids=str)
def test_where_nothing_can_be_said_it_says_nothing(moments: Sequence[float] | None) -> None:
    assert Pace().read(moments, 5) is None


def test_quiet_times_are_not_forgotten_in_busy_ones() -> None:
    """Batches hardly differ, the smaller ones have the longer contexts: a line through them lies flat."""
    chance, pace = random.Random(0), Pace()
    moments = after([affine(1)] * 50)
    told = slowdown(pace, moments, 1)
    for _ in range(100):
        batches = [chance.randrange(36, 45) for _ in range(50)]
        moments = after([(batch, FIXED + EACH * 40) for batch in batches], moments)
        told = slowdown(pace, moments, 40)
    assert told == pytest.approx(46 / 7, rel=0.01)
    assert slowdown(Pace(), after([(batch, 46.0) for batch in range(36, 45)]), 40) == pytest.approx(1)


def test_a_few_steps_wait_until_there_are_more() -> None:
    pace, moments = Pace(), after([affine(1)] * 9)
    assert pace.read(moments, 1) is None
    moments = after([(8, 99.0)], moments)
    assert slowdown(pace, moments, 8) == pytest.approx(slowdown(Pace(), moments, 8))
    moments = after([affine(8)] * 9, moments)
    told = slowdown(pace, moments, 8)
    assert told is not None
    assert 14 / 7 < told < 99 / 7


def test_an_engine_that_has_started_again_is_measured_anew() -> None:
    pace = Pace()
    pace.read(after([affine(1)] * 20), 1)
    pace.read(after([affine(20)] * 20, after([affine(1)] * 20)), 20)
    assert pace.read(after([(3, 5.0)] * 9), 9) is None


def test_an_answer_that_was_overtaken_is_no_new_start() -> None:
    quiet = after([affine(1)] * 200)
    busy = after([affine(20)] * 200, quiet)
    ours, alone = Pace(), Pace()
    for pace in (ours, alone):
        pace.read(quiet, 1)
        pace.read(busy, 20)
    ours.read(after([affine(20)] * 190, quiet), 20)
    more = after([affine(20)] * 200, busy)
    assert ours.read(more, 20) == alone.read(more, 20)


def test_an_engine_that_was_started_again_and_has_taken_more_steps_since_is_noticed() -> None:
    pace = Pace()
    pace.read(after([affine(1)] * 100), 1)
    pace.read(after([affine(30)] * 900, after([affine(1)] * 100)), 30)
    told = pace.read(after([affine(1)] * 1_000 + [affine(2)] * 500), 2)
    assert told is not None
    assert told[1] >= 0
    assert told[0] < 1.5
