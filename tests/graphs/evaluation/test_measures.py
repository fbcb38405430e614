from __future__ import annotations

import pytest

from flowdecode.result import NodeRecord, Result
from flowdecode.usage import Usage
from flowdecode_graphs.evaluation.answers import Answered
from flowdecode_graphs.evaluation.items import Item
from flowdecode_graphs.evaluation.measures import MEASURES, Pair, pairs_of, ran_in_parallel

ITEM = Item(prompt="Tea or coffee?", category="drinks")


def node(name: str, start: float, end: float, **fields: object) -> NodeRecord:
    times = {"planned_at": 0.0, "first_token_at": start, "finished_at": end}
    return NodeRecord(**{"id": name, "kind": "decode", "title": name, "status": "done", **times, **fields})  # type: ignore[arg-type]


def result(text: str = "", nodes: tuple[NodeRecord, ...] = (), **fields: object) -> Result:
    known = {"id": "r", "model": "m", "strategy": "plato", "status": "done", "duration": 2.0}
    return Result(text=text, nodes=nodes, **{**known, **fields})  # type: ignore[arg-type]


def answered(variant: str, of: Result | None, repeat: int = 1, error: str | None = None) -> Answered:
    return Answered(item=ITEM.id, variant=variant, repeat=repeat, result=of, error=error, first_text_at=0.25)


def pair(of: Result, sequential: Result) -> Pair:
    return Pair(ITEM, answered("plato", of), of, sequential)


def test_speedups_overhead_and_throughput() -> None:
    parallel = result(
        work=90,
        span=40,
        duration=1.5,
        usage=Usage(prompt_tokens=500, cached_tokens=400, completion_tokens=120),
    )
    plain = result(work=100, span=100, duration=3.0)
    found = {name: measure.of(pair(parallel, plain)) for name, measure in MEASURES.items()}
    assert found["actual_speedup"] == 2.0
    assert found["theoretical_speedup"] == 2.5
    assert found["token_overhead"] == 1.2
    assert found["throughput"] == 60.0
    assert found["parallelism"] == 2.25
    assert found["first_text"] == 0.25
    assert (found["prefilled"], found["cached"]) == (100, 400)
    assert found["score"] is None


def test_what_is_new_is_what_the_run_had_not_sent_before() -> None:
    nodes = (node("1", 0, 1), node("2", 1, 2, expected_cached_tokens=300))
    parallel = result(nodes=nodes, usage=Usage(prompt_tokens=400, cached_tokens=400))
    assert MEASURES["new"].of(pair(parallel, parallel)) == 100
    assert MEASURES["reused"].of(pair(parallel, parallel)) == 0.75


@pytest.mark.parametrize(
    ("nodes", "parallel"),
    [
        ((node("1", 0, 2), node("2", 1, 3)), True),
        ((node("1", 0, 9), node("2", 1, 2), node("3", 5, 6)), True),
        ((node("1", 0, 1), node("2", 1, 3)), False),
        ((node("plan", 0, 2, kind="plan"), node("1", 1, 3)), False),
        ((node("1", 0, 2), node("2", 1, 3, status="cancelled")), False),
        ((node("1", 0, 2), node("2", 1, 3, first_token_at=None)), False),
        ((), False),
    ],
)
def test_parallel_is_what_overlapped(nodes: tuple[NodeRecord, ...], parallel: bool) -> None:
    assert ran_in_parallel(result(nodes=nodes)) is parallel


def test_repetition_is_across_sections() -> None:
    fresh = result("## Tea\n\nTea is mild and green.\n\n## Milk\n\nCows give it every day.")
    stale = result("## Tea\n\nTea is mild and green.\n\n## Milk\n\nTea is mild and green.")
    measure = MEASURES["repetition"]
    assert (measure.of(pair(fresh, fresh)), measure.of(pair(stale, stale))) == (0, 1)


def test_pairs_are_of_one_round_and_of_runs_that_went_well() -> None:
    plain, other = result("plain"), result("other")
    pairs = pairs_of(
        [ITEM],
        [
            answered("sequential", plain, 1),
            answered("sequential", other, 2),
            answered("plato", plain, 2),
            answered("plato", plain, 3),
            answered("auto", plain, 1, error="gone"),
        ],
    )
    assert [(each.answered.variant, each.answered.repeat, each.sequential.text) for each in pairs] == [
        ("sequential", 1, "plain"),
        ("sequential", 2, "other"),
        ("plato", 2, "other"),
    ]


@pytest.mark.parametrize(
    ("fields", "expected"),
    [
        ({"text": "1. Tea (20)\n2. Milk (20) <- 1\n"}, 1),
        ({"text": "direct\n"}, 1),
        ({"text": "Here is my plan:\n1. Tea (20)\n"}, 0),
        ({"text": "1. Tea", "status": "cancelled"}, None),
        ({"text": "A", "id": "router"}, None),
    ],
)
def test_plans_are_held_to_the_grammar(fields: dict[str, str], expected: int | None) -> None:
    told = result(nodes=(node(fields.pop("id", "plan"), 0, 1, kind="plan", **fields),))
    assert MEASURES["well_formed"].of(pair(told, told)) == expected
