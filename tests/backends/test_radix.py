"""The radix tree against the set of all prefixes that it stands for."""

from __future__ import annotations

import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule

from flowdecode_backends.radix import Node, RadixTree

Tokens = tuple[int, ...]
sequences = st.lists(st.integers(0, 2), max_size=8).map(tuple)


class Model(RuleBasedStateMachine):
    """Every prefix in the tree, with the time of its last use, its slot and its locks."""

    def __init__(self) -> None:
        super().__init__()
        self.tree = RadixTree()
        self.used: dict[Tokens, int] = {}
        self.slot: dict[Tokens, int] = {}
        self.held: list[tuple[Tokens, Node]] = []
        self.time = 0
        self.next_slot = 0

    def longest(self, tokens: Tokens) -> int:
        return max((end for end in range(1, len(tokens) + 1) if tokens[:end] in self.used), default=0)

    def touch(self, tokens: Tokens) -> int:
        self.time += 1
        length = self.longest(tokens)
        for end in range(1, length + 1):
            self.used[tokens[:end]] = self.time
        return length

    def slots(self, tokens: Tokens, start: int, end: int) -> list[int]:
        return [self.slot[tokens[:length]] for length in range(start + 1, end + 1)]

    @rule(tokens=sequences)
    def find(self, tokens: Tokens) -> None:
        assert self.tree.find(tokens) == self.longest(tokens)

    @rule(tokens=sequences, hold=st.booleans())
    def match(self, tokens: Tokens, hold: bool) -> None:
        length, node, slots = self.tree.match(tokens)
        assert length == self.touch(tokens)
        assert slots == self.slots(tokens, 0, length)
        if hold:
            self.tree.lock(node)
            self.held.append((tokens[:length], node))

    @rule(tokens=sequences, hold=st.booleans())
    def insert(self, tokens: Tokens, hold: bool) -> None:
        self.add((), tokens, None, hold)

    @precondition(lambda self: self.held)
    @rule(data=st.data(), tokens=sequences, hold=st.booleans())
    def insert_under_a_held_node(self, data: st.DataObject, tokens: Tokens, hold: bool) -> None:
        prefix, node = data.draw(st.sampled_from(self.held))
        self.add(prefix, tokens, node, hold)

    def add(self, prefix: Tokens, tokens: Tokens, under: Node | None, hold: bool) -> None:
        whole = prefix + tokens
        fresh = list(range(self.next_slot, self.next_slot + len(tokens)))
        self.next_slot += len(tokens)
        length, node, slots = self.tree.insert(tokens, fresh, under)
        assert length + len(prefix) == self.touch(whole)
        assert slots == self.slots(whole, len(prefix), len(prefix) + length)
        for index in range(length, len(tokens)):
            known = whole[: len(prefix) + index + 1]
            self.used[known] = self.time
            self.slot[known] = fresh[index]
        if hold:
            self.tree.lock(node)
            self.held.append((whole, node))

    @precondition(lambda self: self.held)
    @rule(data=st.data())
    def unlock(self, data: st.DataObject) -> None:
        index = data.draw(st.integers(0, len(self.held) - 1))
        self.tree.unlock(self.held.pop(index)[1])

    @rule(count=st.integers(-1, 12))
    def evict(self, count: int) -> None:
        expected: list[int] = []
        for _ in range(count):
            leaves = [
                tokens
                for tokens in self.used
                if not any(other[:-1] == tokens for other in self.used)
                and not any(held[: len(tokens)] == tokens for held, _ in self.held)
            ]
            if not leaves:
                break
            oldest = min(leaves, key=self.used.__getitem__)
            del self.used[oldest]
            expected.append(self.slot.pop(oldest))
        assert sorted(self.tree.evict(count)) == sorted(expected)

    @invariant()
    def counts(self) -> None:
        in_use = {held[:end] for held, _ in self.held for end in range(1, len(held) + 1)}
        assert (self.tree.tokens, self.tree.locked) == (len(self.used), len(in_use))


Model.TestCase.settings = settings(max_examples=80, stateful_step_count=40, deadline=None)
TestModel = Model.TestCase


def test_shares_a_prefix() -> None:
    tree = RadixTree()
    assert tree.insert((1, 2, 3, 4)).length == 0
    assert tree.insert((1, 2, 5)).length == 2
    assert tree.tokens == 5
    assert tree.match((1, 2, 3, 9)).length == 3
    assert tree.find((2,)) == 0


def test_what_is_locked_stays() -> None:
    tree = RadixTree()
    tree.insert((1, 2, 3))
    held = tree.match((1, 2)).node
    tree.lock(held)
    tree.insert((1, 2, 7))
    tree.evict(100)
    assert (tree.tokens, tree.locked, tree.find((1, 2, 3))) == (2, 2, 2)
    tree.unlock(held)
    tree.evict(100)
    assert (tree.tokens, tree.locked) == (0, 0)


def test_evicts_the_least_recently_used_from_its_end() -> None:
    tree = RadixTree()
    tree.insert((1, 2, 3), slots=[10, 11, 12])
    tree.insert((4, 5, 6), slots=[20, 21, 22])
    tree.match((1,))
    assert tree.evict(1) == [12]
    assert tree.evict(2) == [11, 22]
    assert (tree.find((1, 2)), tree.find((4, 5, 6))) == (1, 2)


def test_unlocking_what_nobody_holds_is_an_error() -> None:
    tree = RadixTree()
    node = tree.insert((1, 2)).node
    with pytest.raises(ValueError, match="nobody holds"):
        tree.unlock(node)


def test_a_long_queue_of_evictions_is_not_quadratic() -> None:
    tree = RadixTree()
    for number in range(20_000):
        tree.insert((number, 1, 2, 3))
        tree.evict(tree.tokens - 4_000)
    assert tree.tokens == 4_000
    assert tree.find((19_999, 1, 2, 3)) == 4
    assert tree.find((18_999, 1, 2, 3)) == 0
