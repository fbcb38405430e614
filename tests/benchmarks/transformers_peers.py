"""transformers' own two ways of decoding many prompts."""

from __future__ import annotations

import logging
from collections.abc import Callable
from typing import Any

import torch
import transformers

__all__ = ["Work", "continuous_batching", "generate"]

Work = Callable[[Any, list[list[int]], int], int]
"""Decodes so many tokens behind each prompt with a model; returns how many there were in all."""

_transformers: Any = transformers
logging.getLogger("ContinuousBatchingLogger").setLevel(logging.CRITICAL)


def generate(model: Any, prompts: list[list[int]], tokens: int) -> int:
    """One padded batch; the prompts have nearly the same length."""
    longest = max(map(len, prompts))
    ids = torch.tensor([[0] * (longest - len(ids)) + ids for ids in prompts])
    out = model.generate(
        ids,
        attention_mask=(ids != 0).long(),
        max_new_tokens=tokens,
        do_sample=False,
        eos_token_id=None,
        pad_token_id=0,
    )
    return int(out[:, longest:].numel())


def continuous_batching(model: Any, prompts: list[list[int]], tokens: int) -> int:
    """Blocks of paged KV, by the sizes told: its own guess takes a CPU's memory and is 40 times slower."""
    config = _transformers.GenerationConfig(
        max_new_tokens=tokens, do_sample=False, eos_token_id=-1, pad_token_id=0
    )
    sizes = _transformers.ContinuousBatchingConfig(num_blocks=2 * len(prompts) + 8, max_batch_tokens=256)
    answers = model.generate_batch(
        inputs=prompts,
        generation_config=config,
        continuous_batching_config=sizes,
        progress_bar=False,
        warmup=False,
    )
    return sum(len(answer.generated_tokens) for answer in answers.values())
