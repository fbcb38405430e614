"""The global context cache."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from flowdecode.cache import ContextCache
from flowdecode.context import Block, Context
from flowdecode_backends import words

blocks = st.builds(Block, st.sampled_from(["user", "assistant"]), st.sampled_from(["a", "b", "a b"]))
conversations = st.lists(blocks, min_size=1, max_size=4)


@given(st.lists(conversations, max_size=6))
def test_equal_prefixes_are_one_object(given_conversations: list[list[Block]]) -> None:
    cache = ContextCache(words.count)
    seen: dict[tuple[Block, ...], Context] = {}
    for conversation in given_conversations:
        context = cache.context(conversation)
        assert context.blocks() == conversation
        for prefix in context.prefixes():
            assert seen.setdefault(tuple(prefix.blocks()), prefix) is prefix


@given(conversations, conversations)
def test_extending_is_the_same_as_building(first: list[Block], more: list[Block]) -> None:
    cache = ContextCache(words.count)
    assert cache.extend(cache.context(first), *more) is cache.context([*first, *more])
    assert cache.extend(cache.context(first)) is cache.context(first)


def test_a_context_from_elsewhere_is_extended_once() -> None:
    cache = ContextCache(words.count)
    elsewhere = Context.of([Block("user", "a")])
    assert cache.extend(elsewhere, Block("user", "b")) is cache.extend(elsewhere, Block("user", "b"))


def test_contexts_of_other_templates_are_others() -> None:
    cache = ContextCache(words.count)
    blocks = [Block("user", "a"), Block("user", "b")]
    plain = cache.context(blocks)
    thinking = cache.context(blocks, {"enable_thinking": True})
    silent = cache.context(blocks, {"enable_thinking": False})
    assert plain.chat_template_kwargs is None
    assert thinking.chat_template_kwargs == {"enable_thinking": True}
    assert silent.chat_template_kwargs == {"enable_thinking": False}
    assert cache.context(blocks, {"enable_thinking": True}) is thinking
    assert cache.context(blocks) is plain


def test_nothing_is_expected_of_an_engine_that_got_nothing() -> None:
    cache = ContextCache(words.count)
    assert cache.expected_cached_tokens(cache.context([Block("user", "a b c")])) == 0


def test_the_longest_sent_prefix_should_be_cached() -> None:
    cache = ContextCache(words.count)
    system, question = Block("system", "one two three"), Block("user", "four")
    sent = cache.context([system, question])
    cache.sent(sent)
    more = cache.extend(sent, Block("assistant", "five"), Block("user", "six"))
    assert cache.expected_cached_tokens(sent) == words.count(sent)
    assert cache.expected_cached_tokens(more) == words.count(sent)
    cache.sent(more)
    assert cache.expected_cached_tokens(more) == words.count(more)
    assert cache.expected_cached_tokens(cache.context([Block("user", "four")])) == 0


def test_a_sibling_shares_what_it_has_in_common() -> None:
    cache = ContextCache(words.count)
    head = [Block("system", "one two three"), Block("user", "question")]
    cache.sent(cache.context([*head, Block("user", "first")]))
    expected = cache.expected_cached_tokens(cache.context([*head, Block("user", "second")]))
    common = words.count(cache.context(head))
    assert expected == common
