"""What training puts before an answer is what the backends send."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from flowdecode.context import Block, Context, Role
from flowdecode.errors import ConfigurationError
from flowdecode_backends.tokens import ChatTokens
from flowdecode_graphs.pasta.training.conversation import Conversation

pytest.importorskip("transformers")

from tests.backends.local.tokenizers import TEMPLATES, make_tokenizer, word_piece_tokenizer

texts = st.text(st.characters(codec="utf-8"), max_size=12) | st.sampled_from(
    ["What is tea?", " is ", "<|im_end|>", "a <think>b</think> c", "\n\n", "\ud800"]
)


@pytest.mark.parametrize("style", [*TEMPLATES, "always", "first", "never"])
@given(prompt=texts, system=st.none() | texts, answer=texts)
def test_heads_texts_and_ends_are_the_backends(
    style: str, prompt: str, system: str | None, answer: str
) -> None:
    tokenizer: Any = make_tokenizer(style) if style in TEMPLATES else word_piece_tokenizer(style)
    sent, ours = ChatTokens(tokenizer), Conversation(tokenizer)
    turns: list[tuple[Role, str]] = [("user", prompt)]
    if system is not None:
        turns.insert(0, ("system", system))
    context = Context.of([Block(role, text) for role, text in turns])
    assert ours.head(prompt, system) == list(sent.render(context))
    assert ours.encode(answer) == list(sent.encode(answer))
    assert {ours.end} == sent.stop_ids()


def test_an_ordinary_prompt_is_what_the_template_writes() -> None:
    tokenizer = make_tokenizer()
    asked = [{"role": "system", "content": "Be brief."}, {"role": "user", "content": "What is tea?"}]
    text = tokenizer.apply_chat_template(asked, tokenize=False, add_generation_prompt=True)
    ids = tokenizer.encode(text, add_special_tokens=False)
    assert Conversation(tokenizer).head("What is tea?", "Be brief.") == ids


def test_a_tokenizer_without_a_usable_template_is_refused() -> None:
    with pytest.raises(ConfigurationError, match=r"Expected a tokenizer whose chat template .* it has none"):
        Conversation(make_tokenizer(None))
