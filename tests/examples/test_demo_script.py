"""The script behind `make demo`: what it answers, and how long one looks at it."""

from __future__ import annotations

import pytest

import flowdecode
from flowdecode.result import Result
from flowdecode_backends.scripted import Scripted
from flowdecode_backends.simulated import simulate
from tests.examples.engine import DEMO

PROMPT = "Compare tea and coffee: origin, caffeine, taste, and which to drink in the evening."
PARTS = ["Origin", "Caffeine", "Taste", "Which to drink in the evening"]


def decoded(strategy: str) -> Result:
    """In virtual time: the seconds of the script take none."""
    return simulate(flowdecode.run(PROMPT, backend=Scripted(DEMO), strategy=strategy))


@pytest.mark.parametrize("strategy", ["plato", "auto"])
def test_it_is_decoded_in_parallel_within_a_few_seconds(strategy: str) -> None:
    result = decoded(strategy)
    assert (result.strategy, result.status, result.fallback_reason) == ("plato", "done", None)
    assert [line[3:] for line in result.text.splitlines() if line.startswith("## ")] == PARTS
    assert 3 <= result.duration <= 5
    assert result.parallelism > 2
    assert result.plan is not None
    assert not result.plan.remarks


def test_the_hidden_part_is_for_the_last_one_alone() -> None:
    nodes = {node.title: node for node in decoded("plato").nodes}
    hidden, last = nodes["What matters in the evening"], nodes[PARTS[-1]]
    assert not hidden.shown
    assert hidden.text not in decoded("plato").text
    assert hidden.id in last.parents
    assert len(last.parents) == 3


def test_the_parts_are_about_as_long_as_planned() -> None:
    result = decoded("plato")
    parts = [node for node in result.nodes if node.kind == "decode"]
    assert len(parts) == len(DEMO) - 2
    for part in parts:
        assert part.expected_tokens is not None
        assert 0.7 < part.usage.completion_tokens / part.expected_tokens < 1.4


def test_the_plain_answer_takes_longer() -> None:
    plain = decoded("sequential")
    assert plain.text == DEMO[-1].text
    assert plain.duration > decoded("plato").duration
