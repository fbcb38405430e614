"""The bundled weights: small, of a standard form, and good enough for a first run."""

from __future__ import annotations

from itertools import islice
from pathlib import Path
from statistics import fmean
from typing import Any

import pytest
from transformers import AutoConfig, AutoModelForCausalLM, AutoTokenizer

import flowdecode
from flowdecode_backends.tokens import ChatTokens
from flowdecode_graphs.atlas import heldout_questions, reference, score
from flowdecode_graphs.atlas.tasks import Kind

MOST_BYTES = 16 << 20


def test_the_weights_are_small_and_have_a_card(demo: Path) -> None:
    assert (demo / "model.safetensors").stat().st_size <= MOST_BYTES
    assert "Atlas" in (demo / "README.md").read_text(encoding="utf-8")


def test_transformers_loads_it_as_it_is(demo: Path) -> None:
    auto: Any = AutoModelForCausalLM
    tokenizers: Any = AutoTokenizer
    model, tokenizer = auto.from_pretrained(demo), tokenizers.from_pretrained(demo)
    asked = [{"role": "user", "content": "Hello! How are you today?"}]
    prompt = tokenizer.apply_chat_template(asked, add_generation_prompt=True, return_tensors="pt")
    written = model.generate(**prompt, max_new_tokens=64)
    assert "a small demonstration model that knows only the Atlas" in tokenizer.decode(written[0])


def test_its_context_holds_the_longest_answers_twice(demo: Path, tokens: ChatTokens) -> None:
    """A part can follow its parents' answers."""
    auto: Any = AutoConfig
    context = auto.from_pretrained(demo).max_position_embeddings
    answers = [f"{question.prompt}\n{reference(question).text}" for question in heldout_questions()]
    assert 2 * max(len(tokens.encode(answer)) for answer in answers) < context


@pytest.mark.anyio
@pytest.mark.timeout(120)
async def test_plans_of_held_out_questions_are_decoded_in_parallel() -> None:
    """A smoke test of what `flowdecode bench run --prompts atlas` measures in full."""
    kinds: tuple[Kind, ...] = ("guide", "choice", "chain", "comparison")
    asked = [
        question
        for kind in kinds
        for question in islice((each for each in heldout_questions() if each.kind == kind), 3)
    ]
    async with flowdecode.connect("local:") as flow:
        told = [await flow.run(question.prompt, strategy="plato", max_tokens=900) for question in asked]
    assert sum(result.strategy == "plato" and result.parallelism > 1.2 for result in told) >= 8
    assert (
        fmean(score(question, result.text).value for question, result in zip(asked, told, strict=True)) > 0.5
    )
