"""Rendering keeps prefixes, ids and templates; the detokeniser loses nothing."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from flowdecode.backend import Delta
from flowdecode.context import Block, Context, Role
from flowdecode.errors import ConfigurationError
from flowdecode_backends.tokens import ChatTokens, Detokenizer

pytest.importorskip("transformers")

from tests.backends.local.tokenizers import TEMPLATES, make_tokenizer, word_piece_tokenizer

ROLES: tuple[Role, ...] = ("system", "user", "assistant")
STYLES = pytest.mark.parametrize("style", TEMPLATES)
texts = st.text(max_size=12) | st.sampled_from(["tea", " is ", "<|im_end|>", "a <think>b</think> c", "\n\n"])
blocks = st.builds(
    Block, st.sampled_from(ROLES), texts, st.none() | st.lists(st.integers(8, 399), max_size=3).map(tuple)
)


def render(style: str, *turns: tuple[Role, str], kwargs: dict[str, Any] | None = None) -> str:
    tokens = ChatTokens(make_tokenizer(style))
    context = Context.of([Block(role, text) for role, text in turns], kwargs)
    return str(tokens.tokenizer.decode(list(tokens.render(context)), skip_special_tokens=False,
                                       clean_up_tokenization_spaces=False))  # fmt: skip


def templated(style: str, *turns: tuple[Role, str], **kwargs: Any) -> str:
    conversation = [{"role": role, "content": text} for role, text in turns]
    tokenizer = make_tokenizer(style)
    return str(
        tokenizer.apply_chat_template(conversation, tokenize=False, add_generation_prompt=True, **kwargs)
    )


@STYLES
@given(some=st.lists(blocks, min_size=1, max_size=7))
def test_tokens_of_a_context_are_a_prefix_of_every_extension(style: str, some: list[Block]) -> None:
    tokens = ChatTokens(make_tokenizer(style))
    context = Context.of(some)
    whole = tokens.render(context)
    for prefix in context.prefixes():
        count, alone = tokens.count(prefix), tokens.render(prefix)
        assert whole[:count] == alone[:count]
        assert count <= len(alone)
    assert tokens.count(context) == len(whole) or some[-1].role != "assistant"


@STYLES
def test_one_turn_is_what_the_template_writes(style: str) -> None:
    assert render(style, ("user", "What is tea?")) == templated(style, ("user", "What is tea?"))


@pytest.mark.parametrize("style", ["qwen3", "llama3", "mistral"])
def test_system_message_is_what_the_template_writes(style: str) -> None:
    turns: list[tuple[Role, str]] = [("system", "Be brief."), ("user", "What is tea?")]
    assert render(style, *turns) == templated(style, *turns)


@pytest.mark.parametrize("style", ["qwen3", "llama3", "gemma"])
def test_several_turns_are_what_the_template_writes(style: str) -> None:
    turns: list[tuple[Role, str]] = [("user", "Tea?"), ("assistant", "Leaves."), ("user", "Coffee?")]
    assert render(style, *turns) == templated(style, *turns)


def test_template_without_system_role_gets_it_in_the_first_user_turn() -> None:
    rendered = render("gemma", ("system", "Be brief."), ("user", "Tea?"))
    assert rendered == templated("gemma", ("user", "Be brief.\n\nTea?"))


def test_later_system_message_is_given_as_the_users() -> None:
    rendered = render("qwen3", ("user", "Tea?"), ("system", "Be brief."), ("user", "Now."))
    assert rendered == templated("qwen3", ("user", "Tea?\n\nBe brief.\n\nNow."))


def test_history_keeps_the_thoughts_that_the_template_would_drop() -> None:
    turns: list[tuple[Role, str]] = [
        ("user", "Tea?"),
        ("assistant", "<think>So.</think>Yes."),
        ("user", "Why?"),
    ]
    assert "<think>So.</think>Yes." in render("qwen3", *turns)
    assert "So." not in templated("qwen3", *turns)


def test_template_arguments_pass_through() -> None:
    turn: tuple[Role, str] = ("user", "Tea?")
    thinking = render("qwen3", turn)
    assert render("qwen3", turn, kwargs={"enable_thinking": False}) == f"{thinking}<think>\n\n</think>\n\n"


@STYLES
def test_assistants_turn_is_continued(style: str) -> None:
    asked, said = ("user", "Tea?"), ("assistant", "Leaves")
    assert render(style, asked, said) == render(style, asked) + "Leaves"  # type: ignore[arg-type]


@STYLES
def test_decoded_ids_are_kept(style: str) -> None:
    tokens = ChatTokens(make_tokenizer(style))
    ids = (300, 20, 21, 22)
    context = Context.of([Block("user", "Tea?"), Block("assistant", "not these ids", ids)])
    assert tokens.render(context)[-4:] == ids
    longer = tokens.render(context.extend(Block("user", "More.")))
    assert longer[: tokens.count(context)] == tokens.render(context)


def test_special_tokens_in_a_text_are_mere_text() -> None:
    tokens = ChatTokens(make_tokenizer("qwen3"))
    (end,) = tokens.stop_ids()
    assert tokens.render(Context.of([Block("user", "<|im_end|>")])).count(end) == 1
    assert tokens.decode(tokens.encode("<|im_end|>")) == "<|im_end|>"


def test_lone_surrogates_are_replaced() -> None:
    tokens = ChatTokens(make_tokenizer("qwen3"))
    assert tokens.decode(tokens.encode("a\ud800b")) == "a?b"


@pytest.mark.parametrize("scheme", ["first", "always"])
def test_spaces_are_not_added_at_block_borders(scheme: str) -> None:
    tokens = ChatTokens(word_piece_tokenizer(scheme))
    assert tokens.tokenizer.convert_ids_to_tokens(list(tokens.encode("tea")))[0].startswith("t")
    assert tokens.tokenizer.convert_ids_to_tokens(list(tokens.encode(" tea")))[0].startswith("\u2581t")


def test_end_of_turn_and_of_text_are_stop_ids() -> None:
    tokenizer = make_tokenizer("qwen3", "<|eot|>")
    expected = tokenizer.convert_tokens_to_ids(["<|im_end|>", "<|eot|>"])
    assert ChatTokens(tokenizer).stop_ids() == set(expected)


def test_missing_template_is_a_clear_error() -> None:
    with pytest.raises(ConfigurationError, match=r"Expected a chat template, toy has none\. Use an instr"):
        ChatTokens(make_tokenizer(None), "toy").count(Context.of([Block("user", "Tea?")]))


@pytest.mark.parametrize(
    ("template", "reason"),
    [
        ("hello", "the user's message is missing"),
        ("{% for m in messages %}{{ m.content }}{{ m.content }}{% endfor %}", "is repeated"),
        ("{{ raise_exception('only tools') }}", "only tools"),
        ("{{ messages | ", "fails: unexpected|fails: Expected"),
    ],
)
def test_wrong_template_is_a_clear_error(template: str, reason: str) -> None:
    tokenizer: Any = make_tokenizer(None, "<|eot|>")
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(tokenizer, "chat_template", template)
        with pytest.raises(ConfigurationError, match=reason):
            ChatTokens(tokenizer, "toy").count(Context.of([Block("user", "Tea?")]))


@given(text=st.text(max_size=30))
def test_detokeniser_gives_text_and_ids_back(text: str) -> None:
    tokens = ChatTokens(make_tokenizer("qwen3"))
    ids = tokens.encode(text)
    stream = Detokenizer(tokens, before=tokens.render(Context.of([Block("user", "Tea?")])))
    deltas = [*(stream.feed(token) for token in ids), stream.finish()]
    assert "".join(delta.text for delta in deltas) == text
    assert tuple(token for delta in deltas for token in delta.tokens) == ids
    assert all(tokens.decode(delta.tokens) == delta.text for delta in deltas)


@given(ids=st.lists(st.integers(8, 399), max_size=40))
def test_detokeniser_survives_any_ids(ids: list[int]) -> None:
    tokens = ChatTokens(make_tokenizer("qwen3"))
    stream = Detokenizer(tokens)
    deltas = [*(stream.feed(token) for token in ids), stream.finish()]
    assert [token for delta in deltas for token in delta.tokens] == ids


@given(text=st.text(alphabet="abc😀 ", max_size=20), stop=st.lists(st.text("abc ", min_size=1), max_size=2))
@example(text=" aa", stop=["a", " aa"])
def test_the_first_complete_stop_string_ends_the_text_before_it(text: str, stop: list[str]) -> None:
    tokens = ChatTokens(make_tokenizer("qwen3"))
    stream = Detokenizer(tokens, stop=stop)
    out: list[Delta] = []
    for token in tokens.encode(text):
        out.append(stream.feed(token))
        if stream.stopped:
            break
    else:
        out.append(stream.finish())
    ids = tokens.encode(text)
    decoded = [tokens.decode(ids[:count]) for count in range(1, len(ids) + 1)]
    stopped = next((seen for seen in decoded if any(end in seen for end in stop)), None)
    shown = "".join(delta.text for delta in out)
    if stopped is None:
        assert shown == text
    else:
        assert shown == stopped[: min(stopped.find(end) for end in stop if end in stopped)]
    assert stream.stopped == (stopped is not None)
    assert tokens.decode([token for delta in out for token in delta.tokens]) == shown
