"""The bundled weights that PASTA's training made: small, declared, and good enough for a first run."""

from __future__ import annotations

from statistics import fmean

import pytest

import flowdecode
from examples.pasta_atlas.split import proof_questions
from flowdecode.backend import ModelProfile
from flowdecode_backends.local.bundled import bundled
from flowdecode_graphs.atlas import heldout_questions, score

FOLDER = bundled("pasta")
MOST_BYTES = 16 << 20


def test_the_weights_are_small_and_declare_the_strategy() -> None:
    assert (FOLDER / "model.safetensors").stat().st_size <= MOST_BYTES
    assert ModelProfile.read(FOLDER).strategies == ("pasta",)
    assert "PASTA" in (FOLDER / "README.md").read_text(encoding="utf-8")
    assert not (FOLDER / "checkpoints").exists()


@pytest.mark.anyio
@pytest.mark.timeout(120)
async def test_auto_takes_the_strategy_and_held_out_answers_are_decoded_side_by_side() -> None:
    """A smoke test of what `python -m examples.pasta_atlas measure` measures in full."""
    asked = proof_questions()[::10]
    async with flowdecode.connect("local:@pasta") as flow:
        told = [await flow.run(question.prompt, max_tokens=900) for question in asked]
    assert {result.strategy for result in told} == {"pasta"}
    assert sum(result.parallelism > 1.2 for result in told) >= 9
    assert (
        fmean(score(question, result.text).value for question, result in zip(asked, told, strict=True)) > 0.6
    )
    assert all("<" not in result.text for result in told)


@pytest.mark.anyio
@pytest.mark.timeout(120)
async def test_a_short_fact_is_answered_plainly() -> None:
    asked = next(question for question in heldout_questions() if question.kind == "short")
    result = await flowdecode.run(asked.prompt, backend="local:@pasta", strategy="pasta")
    assert result.parallelism == 1
    assert score(asked, result.text).value == 1
