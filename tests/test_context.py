"""Blocks and contexts."""

from __future__ import annotations

import gc
import weakref
from itertools import pairwise
from typing import get_args

import pytest
from hypothesis import given
from hypothesis import strategies as st

from flowdecode.context import Block, Context, Role

blocks = st.builds(
    Block,
    st.sampled_from(get_args(Role)),
    st.text(st.characters(codec=None), max_size=8),
    st.none() | st.lists(st.integers(0, 99), max_size=3).map(tuple),
)
some_blocks = st.lists(blocks, min_size=1, max_size=6)


@given(some_blocks)
def test_a_context_gives_its_blocks_back(given_blocks: list[Block]) -> None:
    assert Context.of(given_blocks).blocks() == given_blocks
    assert Context.of(iter(given_blocks)).blocks() == given_blocks


@given(some_blocks, st.lists(blocks, max_size=4))
def test_an_extension_shares_all_that_went_before(first: list[Block], more: list[Block]) -> None:
    context = Context.of(first, {"enable_thinking": False})
    extended = context.extend(*more)
    assert extended.blocks() == [*first, *more]
    assert list(extended.prefixes())[len(more) :] == list(context.prefixes())
    assert context.blocks() == first
    assert extended.chat_template_kwargs == {"enable_thinking": False}


@given(some_blocks)
def test_prefixes_grow_shorter_by_one_block_each(given_blocks: list[Block]) -> None:
    context = Context.of(given_blocks)
    prefixes = list(context.prefixes())
    assert prefixes[0] is context
    assert [prefix.blocks() for prefix in prefixes] == [
        given_blocks[:length] for length in range(len(given_blocks), 0, -1)
    ]


@given(some_blocks)
def test_messages_join_neighbours_of_one_role(given_blocks: list[Block]) -> None:
    messages = Context.of(given_blocks).messages()
    roles = [message["role"] for message in messages]
    assert all(one != other for one, other in pairwise(roles))
    assert "".join(message["content"] for message in messages) == "".join(
        block.text for block in given_blocks
    )
    assert roles == [
        block.role
        for index, block in enumerate(given_blocks)
        if index == 0 or given_blocks[index - 1].role != block.role
    ]


def test_extending_by_nothing_is_the_same_context() -> None:
    context = Context.of([Block("user", "Tea?")])
    assert context.extend() is context


def test_no_blocks_are_an_error() -> None:
    with pytest.raises(ValueError, match="at least one block"):
        Context.of([])


def test_contexts_are_told_apart_by_identity_and_blocks_by_value() -> None:
    one, other = (Context.of([Block("user", "Tea?", (1, 2))]) for _ in range(2))
    assert one != other
    assert len({one, other}) == 2
    assert one.block == other.block
    assert len({one.block, other.block}) == 1
    assert Block("user", "Tea?") != Block("user", "Tea?", (1, 2))


def test_contexts_are_immutable() -> None:
    context = Context.of([Block("user", "Tea?")])
    with pytest.raises(AttributeError):
        context.block = Block("user", "Coffee?")  # type: ignore[misc]  # pyright: ignore[reportAttributeAccessIssue]
    with pytest.raises(AttributeError):
        context.block.text = "Coffee?"  # type: ignore[misc]  # pyright: ignore[reportAttributeAccessIssue]


def test_a_long_context_needs_no_recursion() -> None:
    context = Context.of(Block("user", str(number)) for number in range(20_000))
    assert len(context.blocks()) == 20_000
    assert len(context.messages()) == 1
    watched = weakref.ref(context)
    del context
    gc.collect()
    assert watched() is None
