"""Tiny random models of four families, with a tokenizer and a chat template, saved in a folder."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from tests.backends.local.tokenizers import make_tokenizer

torch: Any = pytest.importorskip("torch")
transformers: Any = pytest.importorskip("transformers")

__all__ = ["FAMILIES", "make_model", "save"]

VOCABULARY = 400
SIZE: dict[str, Any] = {
    "hidden_size": 64,
    "intermediate_size": 96,
    "num_hidden_layers": 3,
    "num_attention_heads": 4,
    "num_key_value_heads": 2,
    "vocab_size": VOCABULARY,
    "max_position_embeddings": 1024,
    "initializer_range": 0.2,
    "bos_token_id": None,
    "eos_token_id": None,
    "pad_token_id": 0,
}
FAMILIES = ("llama", "qwen3", "gemma3", "mistral")


def make_model(family: str, seed: int = 0) -> Any:
    """A random model in float32; Gemma's and Mistral's windows are shorter than the tests' contexts."""
    torch.manual_seed(seed)
    if family == "llama":
        config = transformers.LlamaConfig(**SIZE)
    elif family == "qwen3":
        config = transformers.Qwen3Config(head_dim=24, **SIZE)
    elif family == "mistral":
        config = transformers.MistralConfig(sliding_window=16, **SIZE)
    else:
        config = transformers.Gemma3TextConfig(
            head_dim=16,
            sliding_window=16,
            layer_types=["sliding_attention", "full_attention", "sliding_attention"],
            **SIZE,
        )
    return transformers.AutoModelForCausalLM.from_config(config).eval()


def save(folder: Path, family: str, *, template: str | None = "qwen3", seed: int = 0) -> Path:
    """Write a model and its tokenizer as `from_pretrained` reads them."""
    make_model(family, seed).save_pretrained(folder)
    make_tokenizer(template).save_pretrained(folder)
    return folder
