"""Results as data."""

from __future__ import annotations

import json

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from flowdecode.errors import FlowdecodeError
from flowdecode.plan import Plan, PlanNode
from flowdecode.result import NodeRecord, Result
from flowdecode.usage import Usage

counts = st.integers(0, 1_000)
times = st.none() | st.floats(0, 1e6)
usages = st.builds(
    Usage, prompt_tokens=counts, cached_tokens=counts, completion_tokens=counts, wasted_tokens=counts
)
texts = st.text(max_size=10)
records = st.builds(
    NodeRecord,
    id=texts,
    kind=st.sampled_from(["decode", "call", "plan"]),
    title=texts,
    parents=st.lists(texts, max_size=3).map(tuple),
    text=texts,
    status=st.sampled_from(["done", "failed", "cancelled"]),
    error=st.none() | texts,
    shown=st.booleans(),
    expected_tokens=st.none() | counts,
    offset=counts,
    planned_at=st.floats(0, 1e6),
    ready_at=times,
    finished_at=times,
    usage=usages,
    attempts=counts,
)
results = st.builds(
    Result,
    id=texts,
    text=texts,
    model=texts,
    strategy=st.none() | texts,
    status=st.sampled_from(["done", "partial", "failed", "cancelled", "timeout"]),
    fallback_reason=st.none() | texts,
    plan=st.none() | st.just(Plan((PlanNode(id=1, title="Tea"), PlanNode(id=2, title="", parents=(1,))))),
    nodes=st.lists(records, max_size=2).map(tuple),
    usage=usages,
    work=counts,
    span=counts,
    duration=st.floats(0, 1e6),
)


@given(results)
def test_round_trips_through_json(result: Result) -> None:
    text = result.to_json()
    assert Result.from_json(text) == result
    assert Result.from_json(text.encode()) == result
    assert json.loads(text)["status"] == result.status


def result(**fields: object) -> Result:
    required = {"id": "r", "text": "", "model": "m", "strategy": None, "status": "done"}
    return msgspec.convert({**required, **fields}, Result)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", "result"),
        ("{}", "missing required field `id`"),
        ('{"id": 1}', r"Expected `str`, got `int` - at `\$\.id` \(result\)"),
        (result().to_json().replace("done", "dun"), r"Invalid enum value 'dun' - at `\$\.status`"),
        (b"\xff", "result"),
    ],
)
def test_bad_json_says_what_is_wrong_and_where(text: str | bytes, message: str) -> None:
    with pytest.raises(FlowdecodeError, match=message):
        Result.from_json(text)


def test_a_plan_with_a_cycle_in_a_result_is_an_error_of_the_tree() -> None:
    plan = '"plan":{"nodes":[{"id":1,"title":"","parents":[1]}]}'
    text = result().to_json().replace("{", f"{{{plan},", 1)
    with pytest.raises(FlowdecodeError, match="1 -> 1"):
        Result.from_json(text)


def test_a_later_version_may_say_more() -> None:
    text = result().to_json().replace("{", '{"colour": "green", ', 1)
    assert Result.from_json(text) == result()


def test_parallelism_is_work_over_span() -> None:
    assert result(work=30, span=10).parallelism == 3.0
    assert result().parallelism == 1.0


@given(usages, usages)
def test_usages_add_up(one: Usage, other: Usage) -> None:
    both = one + other
    assert both == other + one
    assert one + Usage() == one
    assert both.completion_tokens == one.completion_tokens + other.completion_tokens
    assert both.useful_tokens == one.useful_tokens + other.useful_tokens
    assert one.as_wasted().useful_tokens == 0
    assert one.as_wasted().prompt_tokens == one.prompt_tokens
