"""Which node goes next: width, fairness, longest remaining path."""

from __future__ import annotations

import random
from collections.abc import Iterable
from typing import Any, Literal, cast

import pytest
from hypothesis import given
from hypothesis import strategies as st

from flowdecode.node import Node
from flowdecode.plan import DEFAULT_EXPECTED_TOKENS
from flowdecode.ready import Admission, Lane, Paths
from flowdecode.result import NodeKind


def make_node(
    name: object = "", tokens: int | None = 1, *parents: Node[Any], kind: NodeKind = "decode"
) -> Node[Any]:
    node: Node[Any] = Node(
        cast(Any, None),
        str(name),
        kind,
        cast(Any, None),
        parents=parents,
        title="",
        expected_tokens=tokens,
        offset=0,
        slot=None,
        planned_at=0.0,
    )
    for parent in parents:
        parent.children.append(node)
    return node


class Runs:
    """Lanes of one queue that note what they start."""

    def __init__(self, limit: int | None = None, widths: Iterable[int | None] = (None,)) -> None:
        self.admission = Admission(limit)
        self.started: list[str] = []
        self.lanes = [self.admission.lane(self._start, width=width) for width in widths]

    def _start(self, node: Node[Any]) -> None:
        self.started.append(node.id)

    def submit(self, lane: Lane, *nodes: Node[Any]) -> None:
        for node in nodes:
            lane.grew()
            lane.submit(node)


# Width and order


def test_without_limits_every_node_starts_at_once() -> None:
    runs = Runs()
    runs.submit(runs.lanes[0], *(make_node(name) for name in "abc"))
    assert runs.started == ["a", "b", "c"]


@given(st.lists(st.integers(0, 3), max_size=12))
def test_longest_first_and_equals_as_they_came(tokens: list[int]) -> None:
    runs = Runs(widths=[1])
    lane = runs.lanes[0]
    runs.submit(lane, make_node("first"))
    nodes = [make_node(index, length) for index, length in enumerate(tokens)]
    runs.submit(lane, *nodes)
    assert runs.started == ["first"]
    for _ in tokens:
        lane.release()
    by_length = sorted(nodes, key=lambda node: -(node.expected_tokens or 0))
    assert runs.started == ["first", *(node.id for node in by_length)]


def test_the_path_counts_and_not_the_node() -> None:
    runs = Runs(widths=[1])
    lane = runs.lanes[0]
    runs.submit(lane, make_node("first"))
    short, long = make_node("short", 5), make_node("long", 50)
    for node in (short, long):
        runs.submit(lane, node)
    make_node("behind", 100, short)
    lane.grew()
    lane.release()
    assert runs.started == ["first", "short"]


def test_a_path_that_grows_while_the_node_waits_counts() -> None:
    runs = Runs(widths=[1])
    lane = runs.lanes[0]
    runs.submit(lane, make_node("first"))
    nodes = [make_node(index, 10) for index in range(5)]
    runs.submit(lane, *nodes)
    for index in (3, 1, 4):
        make_node("child", 10 * index, nodes[index])
        lane.grew()
    for _ in range(5):
        lane.release()
    assert runs.started == ["first", "4", "3", "1", "0", "2"]


def test_a_withdrawn_node_never_starts() -> None:
    runs = Runs(limit=1, widths=[None, None])
    one, other = runs.lanes
    nodes = [make_node(name) for name in "abcd"]
    runs.submit(one, *nodes[:3])
    runs.submit(other, nodes[3])
    one.withdraw(nodes[1])
    one.withdraw(nodes[1])
    one.withdraw(nodes[0])  # it runs already
    for _ in range(3):
        one.release()
    assert runs.started == ["a", "c", "d"]


def test_a_run_whose_last_waiting_node_was_withdrawn_is_passed_over() -> None:
    runs = Runs(limit=1, widths=[None, None])
    one, other = runs.lanes
    running, withdrawn, next_one = (make_node(name) for name in "abc")
    runs.submit(one, running, withdrawn)
    runs.submit(other, next_one)
    one.withdraw(withdrawn)
    one.release()
    assert runs.started == ["a", "c"]
    other.release()
    assert (runs.admission.running, one.running, other.running) == (0, 0, 0)


# Fairness


def test_runs_take_turns() -> None:
    runs = Runs(limit=1, widths=[None, None, None])
    for lane, names in zip(runs.lanes, ("abcdef", "ABC", "x"), strict=True):
        runs.submit(lane, *(make_node(name) for name in names))
    started: list[Lane] = [runs.lanes[0]]
    for _ in range(9):
        started[-1].release()
        started.append(
            next(
                lane
                for lane, names in zip(runs.lanes, ("abcdef", "ABC", "x"), strict=True)
                if runs.started[-1] in names
            )
        )
    assert "".join(runs.started) == "abAxcBdCef"


def test_a_run_at_its_width_holds_no_other_up() -> None:
    runs = Runs(limit=3, widths=[1, None])
    narrow, wide = runs.lanes
    runs.submit(narrow, *(make_node(name) for name in "abc"))
    runs.submit(wide, *(make_node(name) for name in "ABC"))
    assert "".join(runs.started) == "aAB"
    wide.release()
    assert "".join(runs.started) == "aABC"
    narrow.release()
    assert "".join(runs.started) == "aABCb"


Move = tuple[Literal["submit", "release", "withdraw"], int, int]


@given(
    limit=st.none() | st.integers(1, 3),
    widths=st.lists(st.none() | st.integers(1, 3), min_size=1, max_size=4),
    moves=st.lists(
        st.tuples(
            st.sampled_from(["submit", "submit", "release", "withdraw"]), st.integers(0, 3), st.integers(0, 9)
        ),
        max_size=60,
    ),
)
def test_limits_hold_no_place_stays_empty_and_everybody_gets_a_turn(
    limit: int | None, widths: list[int | None], moves: list[Move]
) -> None:
    admission = Admission(limit)
    started: list[tuple[int, Node[Any]]] = []

    def starting(index: int) -> Lane:
        return admission.lane(lambda node: started.append((index, node)), width=widths[index])

    lanes = [starting(index) for index in range(len(widths))]
    submitted: list[set[str]] = [set() for _ in lanes]
    gone: set[str] = set()
    since_turn = [0] * len(lanes)
    """For each run that could go on, starts of others since it waits for a place."""
    seen = 0
    for number, (move, which, value) in enumerate(moves):
        index = which % len(lanes)
        lane = lanes[index]
        match move:
            case "submit":
                lane.grew()
                submitted[index].add(str(number))
                lane.submit(make_node(number, value))
            case "release":
                if lane.running:
                    lane.release()
            case "withdraw":
                if lane.waiting:
                    node = sorted(lane.waiting, key=lambda node: node.id)[value % len(lane.waiting)]
                    gone.add(node.id)
                    lane.withdraw(node)
        for starter, node in started[seen:]:
            assert node.id in submitted[starter]
            assert node.id not in gone
            for other in range(len(lanes)):
                since_turn[other] = 0 if other == starter else since_turn[other] + 1
        seen = len(started)
        for other, waiting in enumerate(lanes):
            if not waiting.waiting or waiting.full:
                since_turn[other] = 0
            assert since_turn[other] < len(lanes)
            assert waiting.width is None or waiting.running <= waiting.width
            could_go_on = bool(waiting.waiting) and not waiting.full and not admission.full
            assert not could_go_on, "a place stayed empty"
        assert limit is None or admission.running <= limit
        assert admission.running == sum(each.running for each in lanes)
    while admission.running:
        next(each for each in lanes if each.running).release()
    ids = [node.id for _, node in started]
    assert len(ids) == len(set(ids))
    assert set(ids) | gone == set().union(*submitted)


# Remaining paths


@st.composite
def growing_dags(draw: st.DrawFn) -> list[tuple[list[int], int | None, bool]]:
    """Parents, tokens, and whether somebody asks for a path once the node is there."""
    return [
        (
            draw(st.lists(st.integers(0, index - 1), max_size=3, unique=True)) if index else [],
            draw(st.none() | st.integers(0, 50)),
            draw(st.booleans()),
        )
        for index in range(draw(st.integers(1, 14)))
    ]


def naive_remaining(node: Node[Any]) -> int:
    cost = DEFAULT_EXPECTED_TOKENS if node.expected_tokens is None else node.expected_tokens
    return cost + max(map(naive_remaining, node.children), default=0)


@given(growing_dags())
def test_remaining_is_the_longest_path_while_the_graph_grows(dag: list[tuple[list[int], Any, bool]]) -> None:
    paths, nodes = Paths(), list[Node[Any]]()
    for index, (parents, tokens, ask) in enumerate(dag):
        nodes.append(make_node(index, tokens, *(nodes[parent] for parent in parents)))
        paths.added += 1
        if ask:
            for node in nodes:
                assert paths.remaining(node) == naive_remaining(node)
    assert [paths.remaining(node) for node in nodes] == list(map(naive_remaining, nodes))


def test_a_call_costs_no_tokens_and_a_decode_a_paragraph() -> None:
    paths = Paths()
    assert paths.remaining(make_node("call", None, kind="call")) == 0
    assert paths.remaining(make_node("decode", None)) == DEFAULT_EXPECTED_TOKENS
    assert paths.remaining(make_node("long call", 30, kind="call")) == 30


def test_a_deep_graph_needs_no_recursion() -> None:
    node = first = make_node("first")
    for index in range(20_000):
        node = make_node(index, 1, node)
    assert Paths().remaining(first) == 20_001


def test_a_ladder_of_diamonds_is_walked_once_per_edge() -> None:
    top = first = make_node("first")
    for index in range(300):
        sides = [make_node(f"{index}-{side}", 1, top) for side in range(3)]
        top = make_node(index, 1, *sides)
    assert Paths().remaining(first) == 601


def test_a_large_graph_is_looked_at_again_once_it_has_grown_by_an_eighth() -> None:
    chooser = random.Random(1)
    paths, nodes = Paths(), [make_node("first", 1)]
    for index in range(1_000):
        nodes.append(make_node(index, chooser.randrange(20), *chooser.sample(nodes, min(2, len(nodes)))))
        paths.added += 1
        _ = paths.remaining(nodes[0])
    assert paths.generation < 400
    paths.added += len(nodes)
    assert paths.remaining(nodes[0]) == naive_longest(nodes)


def naive_longest(nodes: list[Node[Any]]) -> int:
    remaining: dict[Node[Any], int] = {}
    for node in reversed(nodes):
        behind = max((remaining[child] for child in node.children), default=0)
        remaining[node] = (node.expected_tokens or 0) + behind
    return remaining[nodes[0]]


@pytest.mark.parametrize("count", [1, 100])
def test_a_lane_tells_how_much_lies_behind_a_node(count: int) -> None:
    lane = Admission().lane(lambda _: None)
    node = first = make_node("first", 2)
    lane.grew()
    for index in range(count):
        node = make_node(index, 3, node)
        lane.grew()
    assert lane.remaining(first) == 2 + 3 * count
