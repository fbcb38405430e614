"""Plans: checked, measured, and written as JSON and Mermaid."""

from __future__ import annotations

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from flowdecode.errors import FlowdecodeError, PlanCycleError, PlanError
from flowdecode.plan import DEFAULT_EXPECTED_TOKENS, Plan, PlanNode


def node(id: int, *parents: int, tokens: int = 10, offset: int = 0, shown: bool = True) -> PlanNode:
    return PlanNode(
        id=id, title=f"Part {id}", parents=parents, expected_tokens=tokens, offset=offset, shown=shown
    )


@st.composite
def plans(draw: st.DrawFn) -> Plan:
    """Acyclic plans whose nodes stand in any order."""
    ids = draw(st.lists(st.integers(-5, 40), unique=True, max_size=8))
    nodes = [
        PlanNode(
            id=id,
            title=draw(st.text(max_size=6)),
            instruction=draw(st.text(max_size=6)),
            parents=tuple(draw(st.lists(st.sampled_from(ids[:index]), max_size=3))) if index else (),
            expected_tokens=draw(st.integers(1, 50)),
            shown=draw(st.booleans()),
            offset=draw(st.integers(0, 60)),
        )
        for index, id in enumerate(ids)
    ]
    return Plan(tuple(draw(st.permutations(nodes))), tokens=draw(st.integers(0, 60)))


def naive_span(plan: Plan) -> int:
    by_id = {node.id: node for node in plan.nodes}

    def end(id: int) -> int:
        here = by_id[id]
        return max([here.offset, *(end(parent) for parent in here.parents)]) + here.expected_tokens

    return max(map(end, by_id), default=0)


@given(plans())
def test_span_is_the_longest_chain(plan: Plan) -> None:
    assert plan.span == naive_span(plan)
    assert plan.work == plan.tokens + sum(node.expected_tokens for node in plan.nodes)
    assert plan.parallelism == (plan.work / plan.span if plan.span else 1.0)


@given(plans())
def test_order_puts_parents_first(plan: Plan) -> None:
    seen: set[int] = set()
    for each in plan.order:
        assert seen.issuperset(each.parents)
        seen.add(each.id)
    assert sorted(each.id for each in plan.order) == sorted(each.id for each in plan.nodes)


@given(plans())
def test_round_trips_through_json(plan: Plan) -> None:
    _ = plan.order  # what is computed on the way is no part of the plan
    again = Plan.from_json(plan.to_json())
    assert again == plan
    assert again.order == plan.order
    assert Plan.from_json(plan.to_json().encode()) == plan


def test_an_empty_plan_costs_nothing() -> None:
    plan = Plan(())
    assert (plan.work, plan.span, plan.parallelism, plan.order) == (0, 0, 1.0, ())


def test_a_node_without_a_length_is_a_paragraph() -> None:
    assert Plan((PlanNode(id=1, title="Tea"),)).work == DEFAULT_EXPECTED_TOKENS


def test_the_plan_up_to_a_line_is_on_the_critical_path() -> None:
    plan = Plan((node(1, tokens=10, offset=5), node(2, 1, tokens=10, offset=40)), tokens=40)
    assert plan.span == 50
    assert plan.work == 60


@pytest.mark.parametrize(
    ("nodes", "cycle"),
    [
        ((node(1, 1),), (1, 1)),
        ((node(1, 2), node(2, 1)), (1, 2, 1)),
        ((node(1), node(2, 4, 1), node(3, 2), node(4, 3)), (2, 3, 4, 2)),
    ],
)
def test_a_cycle_is_named(nodes: tuple[PlanNode, ...], cycle: tuple[int, ...]) -> None:
    with pytest.raises(PlanCycleError, match="without cycles") as raised:
        Plan(nodes)
    found = raised.value.cycle
    assert found[0] == found[-1]
    assert set(found) == set(cycle)
    assert " -> ".join(map(str, found)) in str(raised.value)


def test_an_unknown_parent_is_named_with_its_place() -> None:
    with pytest.raises(PlanError, match=r"got 7 - at `nodes\[1\]\.parents`.*1, 2"):
        Plan((node(1), node(2, 1, 7)))


def test_an_id_stands_once() -> None:
    with pytest.raises(PlanError, match="one twice"):
        Plan((node(1), node(1)))


def test_duplicate_parents_count_once() -> None:
    assert Plan((node(1), node(2, 1, 1))).span == 20


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", "plan"),
        ("{", "plan"),
        ("[]", "Expected `object`"),
        ('{"nodes": [{"id": 1}]}', r"title.*\$\.nodes\[0\]"),
        ('{"nodes": [{"id": "1", "title": "x"}]}', r"Expected `int`, got `str` - at `\$\.nodes\[0\]\.id`"),
        ('{"nodes": [{"id": 1, "title": "x", "parents": [2]}]}', "Expected the id of a node, got 2"),
        ('{"nodes": [{"id": 1, "title": "x", "parents": [1]}]}', "1 -> 1"),
    ],
)
def test_bad_json_says_what_is_wrong_and_where(text: str, message: str) -> None:
    with pytest.raises(PlanError, match=message):
        Plan.from_json(text)
    assert issubclass(PlanError, FlowdecodeError)


def test_bytes_that_are_no_text_are_a_plan_error() -> None:
    with pytest.raises(PlanError):
        Plan.from_json(b'{"nodes": [{"id": 1, "title": "\xff"}]}')


def test_plans_are_immutable_and_equal_by_value() -> None:
    plan = Plan((node(1),))
    assert plan == Plan((node(1),))
    assert plan != Plan((node(2),))
    with pytest.raises(AttributeError):
        plan.tokens = 3  # type: ignore[misc]  # pyright: ignore[reportAttributeAccessIssue]
    with pytest.raises(PlanError):
        msgspec.structs.replace(plan, nodes=(node(1, 9),))


def test_mermaid_has_every_node_and_edge_and_escapes_titles() -> None:
    plan = Plan(
        (
            node(1),
            PlanNode(id=4, title='"Tea" <b>#1</b>\nnow', parents=(1,), expected_tokens=7, shown=False),
        )
    )
    assert plan.to_mermaid().splitlines() == [
        "flowchart TD",
        '    n1["Part 1 (10)"]',
        '    n2["#34;Tea#34; #60;b#62;#35;1#60;/b#62;#10;now (7)"]',
        "    n1 --> n2",
        "    classDef hidden stroke-dasharray: 4 4",
        "    class n2 hidden",
    ]


@given(plans())
def test_mermaid_is_one_line_per_node_and_edge(plan: Plan) -> None:
    lines = plan.to_mermaid().split("\n")
    edges = sum(len(each.parents) for each in plan.nodes)
    hidden = 2 * any(not each.shown for each in plan.nodes)
    assert len(lines) == 1 + len(plan.nodes) + edges + hidden


def test_a_deep_plan_needs_no_recursion() -> None:
    plan = Plan(tuple(node(id, *([id - 1] if id else [])) for id in range(5_000)))
    assert plan.span == plan.work == 50_000
