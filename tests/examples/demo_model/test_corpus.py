"""The bundled weights belong to the prompts of today."""

from __future__ import annotations

from itertools import islice
from pathlib import Path
from random import Random
from typing import Any

import msgspec
import pytest
from transformers import AutoTokenizer

from examples.demo_model.corpus import LENGTH, Corpus, fingerprint
from examples.demo_model.drills import TOWNS, Drills
from examples.demo_model.teacher import exchanges
from examples.demo_model.train import Trained
from flowdecode.backend import ModelProfile
from flowdecode_backends.tokens import ChatTokens
from flowdecode_graphs.atlas import REFUSAL, questions, reference
from flowdecode_graphs.plato import Plato

MAX_RULE_TOKENS = 30


def test_prompts_are_those_that_the_weights_were_trained_on(
    demo: Path, tokens: ChatTokens, profile: ModelProfile
) -> None:
    trained = msgspec.json.decode((demo / "training.json").read_bytes(), type=Trained)
    assert trained.prompts == fingerprint(tokens, profile), "train the demo model again: its prompts drifted"


def test_another_prompt_is_noticed(tokens: ChatTokens, profile: ModelProfile) -> None:
    changed = msgspec.structs.replace(profile, prompts={**profile.prompts, "part": "Now {title}."})
    assert fingerprint(tokens, changed) != fingerprint(tokens, profile)


def test_rules_are_short(tokens: ChatTokens, profile: ModelProfile) -> None:
    assert len(tokens.encode(profile.prompts["rules"])) <= MAX_RULE_TOKENS


def test_rows_are_the_same_for_the_same_seed(tokens: ChatTokens, profile: ModelProfile) -> None:
    def first(seed: int) -> list[list[int]]:
        rows = islice(Corpus(tokens, profile, "train", seed), 3)
        return [row["tokens"].tolist() for row in rows]  # pyright: ignore[reportUnknownMemberType]

    assert first(1) == first(1) != first(2)
    assert all(len(row) == LENGTH for row in first(1))


def test_strangers_are_asked_as_anything_and_refused(tokens: ChatTokens) -> None:
    drills, dice = Drills(tokens, ["lamp", "river", "stone"]), Random(1)
    asked = [drills.stranger(dice) for _ in range(200)]
    assert len({question.prompt for question in asked}) > 190
    assert all(question.prompt[0] == question.prompt[0].upper() for question in asked)
    assert {reference(question).text for question in asked} == {REFUSAL}
    assert not {name for name in TOWNS if any(name in question.prompt for question in asked)}


@pytest.mark.anyio
async def test_the_teacher_says_what_the_reference_does(tokens: ChatTokens, profile: ModelProfile) -> None:
    for kind in ("guide", "comparison", "choice", "chain"):
        question = next(questions("train", 1, kind))
        right = reference(question)
        said = [
            tokens.decode(answer)
            for _, answer, _ in await exchanges(tokens, profile, question, Plato(layout="canonical"))
        ]
        if not right.direct:
            assert sorted(said[1:]) == sorted(part.text for part in right.parts)


def test_the_tokenizer_keeps_names_whole_and_strangers_in_pieces(demo: Path) -> None:
    auto: Any = AutoTokenizer
    tokenizer = auto.from_pretrained(demo)
    assert len(tokenizer.tokenize(" Yarralda")) == 1
    assert len(tokenizer.tokenize(" Zellinth")) > 1
