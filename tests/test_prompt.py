"""Prompts: what a run is asked."""

from __future__ import annotations

from typing import Any

import pytest

from flowdecode.context import Block, Context
from flowdecode.errors import ConfigurationError
from flowdecode.prompt import Prompt


def test_a_text_is_the_users_message() -> None:
    prompt = Prompt.read("What is tea?")
    assert prompt.blocks == (Block("user", "What is tea?"),)
    assert prompt.text == "What is tea?"


def test_a_conversation_keeps_its_order() -> None:
    prompt = Prompt.read(
        [
            {"role": "system", "content": "Be brief."},
            {"role": "user", "content": "Tea?"},
            {"role": "assistant", "content": "A drink."},
            {"role": "user", "content": "And coffee?"},
        ]
    )
    assert prompt.text == "And coffee?"
    assert Context.of(prompt.blocks).messages() == [
        {"role": "system", "content": "Be brief."},
        {"role": "user", "content": "Tea?"},
        {"role": "assistant", "content": "A drink."},
        {"role": "user", "content": "And coffee?"},
    ]


def test_the_system_text_comes_first() -> None:
    prompt = Prompt.read("Tea?", system="Be brief.", chat_template_kwargs={"enable_thinking": False})
    assert prompt.blocks == (Block("system", "Be brief."), Block("user", "Tea?"))
    assert prompt.chat_template_kwargs == {"enable_thinking": False}


def test_an_empty_system_text_or_no_rules_add_nothing() -> None:
    assert Prompt.read("Tea?", system="").with_rules("") == [Block("user", "Tea?")]


def test_rules_end_the_system_message() -> None:
    prompt = Prompt.read("Tea?", system="Be brief.")
    assert Context.of(prompt.with_rules("Number the parts.")).messages() == [
        {"role": "system", "content": "Be brief.\n\nNumber the parts."},
        {"role": "user", "content": "Tea?"},
    ]


def test_rules_are_the_system_message_where_there_is_none() -> None:
    assert Context.of(Prompt.read("Tea?").with_rules("Number the parts.")).messages() == [
        {"role": "system", "content": "Number the parts."},
        {"role": "user", "content": "Tea?"},
    ]


def test_messages_of_one_role_in_a_row_are_paragraphs() -> None:
    prompt = Prompt.read(
        [
            {"role": "system", "content": "You serve tea."},
            {"role": "user", "content": "Hello."},
            {"role": "user", "content": "Which teas?"},
        ],
        system="Be brief.",
    )
    assert prompt.text == "Which teas?"
    assert Context.of(prompt.blocks).messages() == [
        {"role": "system", "content": "Be brief.\n\nYou serve tea."},
        {"role": "user", "content": "Hello.\n\nWhich teas?"},
    ]


@pytest.mark.parametrize("text", ["日本茶 🍵", "\u05ea\u05d4", "e\u0301", "\x00", " tea "])
def test_any_text_is_kept_as_it_is(text: str) -> None:
    assert Prompt.read(text).text == text


@pytest.mark.parametrize("text", ["", " ", "\n\t", "\u3000"])
def test_an_empty_question_is_refused(text: str) -> None:
    with pytest.raises(ConfigurationError, match="empty text - at `prompt`"):
        Prompt.read(text)


@pytest.mark.parametrize(
    ("prompt", "message"),
    [
        ([], "the user's, got nothing"),
        ([{"role": "assistant", "content": "Hi."}], "the user's, got assistant"),
        ([{"role": "system", "content": "Hi."}], "the user's, got system"),
        ([{"role": "tool", "content": "4"}], r"got 'tool' - at `prompt\[0\]`"),
        ([{"role": "developer", "content": "4"}], "got 'developer'"),
        ([{"content": "4"}], "got None"),
        ([{"role": "user"}], "Expected text as `content`, got NoneType"),
        (
            [{"role": "user", "content": "a"}, {"role": "user", "content": [{"type": "image_url"}]}],
            r"got a list of content parts - at `prompt\[1\]`",
        ),
        ([{"role": "assistant", "content": "", "tool_calls": ["add"]}], "tool calls are not supported"),
        (["Tea?"], r"Expected a message with `role` and `content`, got 'Tea\?'"),
        ({"role": "user", "content": "Tea?"}, "a text or a list of chat messages, got dict"),
        (b"Tea?", "a text or a list of chat messages, got bytes"),
        (None, "a text or a list of chat messages, got NoneType"),
        (7, "a text or a list of chat messages, got int"),
    ],
)
def test_what_is_no_conversation_is_refused_clearly(prompt: Any, message: str) -> None:
    with pytest.raises(ConfigurationError, match=message):
        Prompt.read(prompt)


def test_a_message_of_another_type_may_have_more_fields() -> None:
    messages: Any = ({"role": "user", "content": "Tea?", "name": "Ann", "tool_calls": None},)
    assert Prompt.read(messages).blocks == (Block("user", "Tea?"),)


def test_a_lone_surrogate_is_refused() -> None:
    with pytest.raises(ConfigurationError, match=r"a lone surrogate at character 3 - at `prompt\[0\]`"):
        Prompt.read("tea\udcff")
