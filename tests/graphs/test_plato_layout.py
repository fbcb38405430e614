from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from flowdecode.plan import PlanNode
from flowdecode_graphs.plato.layout import can_overlap, sources


def node(number: int, *parents: int, tokens: int = 10) -> PlanNode:
    return PlanNode(id=number, title=str(number), parents=parents, expected_tokens=tokens)


def test_the_spine_is_the_parent_with_the_longest_context() -> None:
    found = sources([node(1, tokens=10), node(2, tokens=50), node(3, 1, 2)], "spine")
    assert (found[3].spine, found[3].others) == (2, (1,))


def test_of_equal_parents_the_lowest_is_the_spine() -> None:
    assert sources([node(1), node(2), node(3, 2, 1)], "spine")[3].spine == 1


def test_what_the_spine_has_seen_is_not_sent_again() -> None:
    found = sources([node(1), node(2, 1), node(3, 1, 2)], "spine")
    assert (found[3].spine, found[3].others, found[3].length) == (2, (), 30)


def test_canonical_contexts_hold_all_parents() -> None:
    found = sources([node(1), node(2, 1), node(3, 2, 1)], "canonical")
    assert (found[3].spine, found[3].others) == (None, (1, 2))


@st.composite
def plans(draw: st.DrawFn) -> list[PlanNode]:
    nodes: list[PlanNode] = []
    for number in range(1, draw(st.integers(1, 10)) + 1):
        parents = draw(st.sets(st.sampled_from([each.id for each in nodes]))) if nodes else set[int]()
        nodes.append(node(number, *sorted(parents), tokens=draw(st.integers(1, 99))))
    return nodes


@given(plans(), st.sampled_from(["spine", "canonical"]))
def test_every_parent_is_seen_once_and_choices_depend_on_earlier_lines_alone(
    nodes: list[PlanNode], layout: str
) -> None:
    found = sources(nodes, "spine" if layout == "spine" else "canonical")
    for index, each in enumerate(nodes):
        source = found[each.id]
        inherited = found[source.spine].seen if source.spine is not None else frozenset[int]()
        assert set(each.parents) <= source.seen
        assert not inherited & set(source.others)
        assert sources(nodes[: index + 1], "spine" if layout == "spine" else "canonical")[each.id] == source


@given(plans())
def test_nodes_can_overlap_where_an_earlier_one_is_not_an_ancestor(nodes: list[PlanNode]) -> None:
    by_id = {each.id: each for each in nodes}

    def ancestors(number: int) -> set[int]:
        parents = by_id[number].parents
        return set(parents).union(*(ancestors(parent) for parent in parents))

    assert can_overlap(nodes) == any(len(ancestors(each.id)) < index for index, each in enumerate(nodes))
