"""How nodes share `max_tokens`."""

from __future__ import annotations

import asyncio
from typing import Literal

import pytest
from hypothesis import given
from hypothesis import strategies as st

from flowdecode.allowance import Allowance
from flowdecode.plan import DEFAULT_EXPECTED_TOKENS

Move = tuple[Literal["expect", "forget", "grant", "give back"], str, int]

ids = st.sampled_from(["a", "b", "c", "d"])
moves = st.lists(
    st.tuples(st.sampled_from(["expect", "forget", "grant", "give back"]), ids, st.integers(-5, 200)),
    max_size=40,
)


@given(st.integers(0, 500), moves, st.booleans())
def test_never_exceeds_its_tokens(tokens: int, moves: list[Move], growing: bool) -> None:
    allowance = Allowance(tokens)
    granted: dict[str, list[int]] = {}
    spent = 0
    for move, node_id, number in moves:
        held = granted.setdefault(node_id, [])
        match move:
            case "expect":
                allowance.expect(node_id, number or None)
            case "forget":
                allowance.forget(node_id)
            case "grant":
                grant = allowance.grant(node_id, growing=growing)
                assert grant is not None
                assert grant >= 0
                held.append(grant)
            case "give back":
                if held:
                    grant = held.pop()
                    used = max(0, min(number, grant))
                    spent += used
                    allowance.give_back(grant, used)
        lent = sum(map(sum, granted.values()))
        assert spent + lent <= tokens
        assert allowance.recovers == (lent > 0)


@given(st.integers(1, 1_000), st.lists(st.integers(1, 200), min_size=1, max_size=6), st.integers(1, 80))
def test_all_tokens_can_be_spent(tokens: int, hints: list[int], wanted: int) -> None:
    """Nodes that want more than their hint get it, one request after another, until nothing is left."""
    allowance = Allowance(tokens)
    for index, hint in enumerate(hints):
        allowance.expect(str(index), hint)
    spent = 0
    for index in range(len(hints)):
        missing = wanted
        while missing and (grant := allowance.grant(str(index), growing=False)):
            used = min(grant, missing)
            allowance.give_back(grant, used)
            missing -= used
            spent += used
    assert spent == min(tokens, wanted * len(hints))


def test_no_limit_grants_no_limit() -> None:
    allowance = Allowance(None)
    allowance.expect("a", 5)
    assert allowance.grant("a", growing=True) is None
    allowance.give_back(None, 1_000)
    assert allowance.grant("a", growing=False) is None


def test_shares_go_by_expected_length() -> None:
    allowance = Allowance(400)
    allowance.expect("long", 300)
    allowance.expect("short", 100)
    assert allowance.grant("short", growing=False) == 100
    assert allowance.grant("long", growing=False) == 300
    assert allowance.grant("more", growing=False) == 0


def test_a_single_node_gets_everything() -> None:
    allowance = Allowance(1_000)
    allowance.expect("a", 10)
    assert allowance.grant("a", growing=False) == 1_000


def test_leaves_something_while_more_nodes_may_come() -> None:
    allowance = Allowance(1_000)
    allowance.expect("a", 10)
    assert allowance.grant("a", growing=True) == 10


def test_the_last_token_is_granted() -> None:
    allowance = Allowance(1)
    allowance.expect("a", 1)
    allowance.expect("b", 1_000)
    assert allowance.grant("a", growing=False) == 1
    assert allowance.grant("b", growing=False) == 0


def test_a_node_without_a_length_counts_as_a_paragraph() -> None:
    allowance = Allowance(3 * DEFAULT_EXPECTED_TOKENS)
    allowance.expect("a", None)
    allowance.expect("b", 2 * DEFAULT_EXPECTED_TOKENS)
    assert allowance.grant("a", growing=False) == DEFAULT_EXPECTED_TOKENS


def test_an_engine_that_decodes_too_much_gives_nothing_back() -> None:
    allowance = Allowance(10)
    grant = allowance.grant("a", growing=False)
    allowance.give_back(grant, 12)
    assert allowance.grant("a", growing=False) == 0


def test_a_node_that_will_not_come_leaves_its_share_to_the_others() -> None:
    allowance = Allowance(100)
    allowance.expect("a", 10)
    allowance.expect("b", 990)
    allowance.forget("b")
    allowance.forget("unknown")
    assert allowance.grant("a", growing=False) == 100


@pytest.mark.anyio
async def test_who_finds_nothing_left_may_wait_for_what_others_give_back() -> None:
    allowance = Allowance(10)
    assert allowance.grant("a", growing=False) == 10
    assert allowance.grant("b", growing=False) == 0
    waiting = [asyncio.create_task(allowance.given_back()) for _ in range(2)]
    await asyncio.sleep(0)
    allowance.give_back(10, 4)
    await asyncio.gather(*waiting)
    assert allowance.grant("b", growing=False) == 6
    later = asyncio.create_task(allowance.given_back())
    await asyncio.sleep(0)
    assert not later.done()
    allowance.give_back(6, 6)
    await later
    assert not allowance.recovers
