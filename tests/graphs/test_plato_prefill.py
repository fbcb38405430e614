"""Early prefill: what is known of a part's prompt goes to the engine while its last parent decodes."""

from __future__ import annotations

from typing import Any

import pytest

import flowdecode
from flowdecode.errors import ConfigurationError
from flowdecode.result import NodeRecord, Result
from flowdecode_backends.scripted import Fault, Reply, Scripted
from flowdecode_graphs.plato import Plato
from tests.graphs.scripts import ANSWER, PARTS, part, script

pytestmark = pytest.mark.anyio

LAYOUTS = pytest.mark.parametrize("layout", ["spine", "canonical"])
SLOW_COFFEE: dict[int, Reply | str] = {**PARTS, 2: Reply(PARTS[2], match=part(2), pace=0.005)}


def answers(*, prefill: Reply | None = None) -> list[Reply]:
    """The first parent ends long before the second."""
    planner, *others = script(parts=SLOW_COFFEE)
    return [planner, *([prefill] if prefill else []), *others]


async def run(layout: Any, engine: Scripted, **settings: Any) -> tuple[Result, dict[str, NodeRecord]]:
    strategy = Plato(layout=layout, early_prefill=settings.pop("early_prefill", 1))
    result = await flowdecode.run("Tea or coffee?", backend=engine, strategy=strategy, **settings)
    return result, {record.id: record for record in result.nodes}


@LAYOUTS
async def test_the_last_part_finds_what_was_prefilled(layout: Any) -> None:
    engine = Scripted(answers())
    result, records = await run(layout, engine)
    _, without = await run(layout, Scripted(answers()), early_prefill=0)
    assert result.text == ANSWER
    prefill, verdict, coffee = records["3-prefill"], records["3"], records["2"]
    assert prefill.usage.completion_tokens == prefill.usage.wasted_tokens == 1
    assert prefill.finished_at is not None
    assert coffee.finished_at is not None
    assert prefill.finished_at < coffee.finished_at
    assert verdict.usage.cached_tokens > without["3"].usage.cached_tokens
    assert verdict.usage.cached_tokens >= verdict.expected_cached_tokens
    assert verdict.expected_cached_tokens > without["3"].expected_cached_tokens
    assert result.usage.wasted_tokens == 1
    assert result.work == sum(record.usage.completion_tokens for record in without.values())


@pytest.mark.parametrize("worth", [0, 1000])
@LAYOUTS
async def test_what_is_too_short_is_left_alone(layout: Any, worth: int) -> None:
    result, records = await run(layout, Scripted(answers()), early_prefill=worth)
    assert list(records) == ["plan", "1", "2", "3"]
    assert result.usage.wasted_tokens == 0


async def test_a_spine_that_still_decodes_has_no_prefix() -> None:
    """The verdict goes on with the longest parent, which ends last: nothing of its prompt is known before."""
    plan = "1. Tea (20)\n2. Coffee (90)\n3. Verdict (12) <- 1, 2\n"
    _, records = await run("spine", Scripted([*script(plan)[:1], *answers()[1:]]))
    assert list(records) == ["plan", "1", "2", "3"]


@LAYOUTS
async def test_a_prefill_that_fails_takes_nothing_with_it(layout: Any) -> None:
    known = "3. Verdict (12) <- 1, 2\n" if layout == "spine" else PARTS[1]
    refused = Reply("", match=known, fault=Fault(error="rejected"))
    planner, *others = answers()
    engine = Scripted([planner, *others[:3], refused, *others[3:]])
    result, records = await run(layout, engine, on_error="raise")
    assert records["3-prefill"].status == "failed"
    assert (result.status, result.text) == ("done", ANSWER)


async def test_one_that_was_not_sent_in_time_is_withdrawn() -> None:
    """With one place for all, it would only hold up the part that it is for."""
    result, records = await run("spine", Scripted(answers()), width=1)
    assert (records["3-prefill"].status, records["3-prefill"].sent_at) == ("cancelled", None)
    assert (result.text, result.usage.wasted_tokens) == (ANSWER, 0)


async def test_it_ends_with_the_run() -> None:
    hanging = Reply("x", match="3. Verdict (12) <- 1, 2\n", delay=60.0)
    planner, *others = answers()
    engine = Scripted([planner, *others[:3], hanging, *others[3:]])
    _, records = await run("spine", engine)
    assert records["3-prefill"].status == "cancelled"
    assert engine.running == 0


def test_less_than_nothing_is_refused() -> None:
    with pytest.raises(ConfigurationError, match="early_prefill"):
        Plato(early_prefill=-1)
