"""A tiny model that has learnt a few annotated answers to two prompts, and says now one, now another."""

from __future__ import annotations

import shutil
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest

from flowdecode_graphs.pasta.layout import Form
from flowdecode_graphs.pasta.training.rows import Example
from tests.graphs.pasta.forced import save_model

torch: Any = pytest.importorskip("torch")
transformers: Any = pytest.importorskip("transformers")
collate: Any = pytest.importorskip("flowdecode_graphs.pasta.training.collate")
models: Any = pytest.importorskip("flowdecode_graphs.pasta.training.models")

__all__ = ["ANSWERS", "PROMPTS", "save_taught"]

PROMPTS = ("What is tea?", "Was ist Kaffee \N{HOT BEVERAGE}?")
_TEA, _MILK = (f'<promise topic="{name}" tokens="10"/><async>{name}</async>' for name in ("t", "m"))
ANSWERS = ("A t. A m. A t.", f"{_TEA}{_MILK}<sync/>A t.", f"A m. {_TEA}<sync/>A m. A t.")


def save_taught(
    folder: Path,
    *,
    prompts: Sequence[str] = PROMPTS,
    answers: Sequence[str] = ANSWERS,
    form: Form = "shared",
    steps: int = 30,
) -> Path:
    """Write such a model, as the first stage leaves it."""
    save_model(folder)
    torch.manual_seed(0)
    trainable = models.load_trainable(folder)
    tokenizer, config = trainable.tokenizer, trainable.model.config
    config.initializer_range, config.num_hidden_layers = 0.1, 2
    model = transformers.AutoModelForCausalLM.from_config(config)
    batch = collate.Collator()(
        [collate.encode(Example(prompt, answer), tokenizer, form) for prompt in prompts for answer in answers]
    )
    optimizer = torch.optim.AdamW(model.parameters(), lr=1e-2, betas=(0.9, 0.95))
    for _ in range(steps):
        loss = -collate.token_log_probs(model, batch).sum() / (batch["targets"] >= 0).sum()
        loss.backward()
        torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        optimizer.step()
        optimizer.zero_grad()
    shutil.rmtree(folder)
    models.save_model(trainable._replace(model=model), folder, form=form)
    return folder
