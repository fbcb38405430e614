"""Low-rank adapters (LoRA): what is trained of a model that is too large to be trained whole."""

from __future__ import annotations

import warnings
from typing import Any

from peft import LoraConfig, get_peft_model
from transformers import set_seed

from flowdecode_graphs.pasta.training.models import Trainable, tag_ids

__all__ = ["with_adapters"]

_get_peft_model: Any = get_peft_model  # peft leaves much untyped


def with_adapters(trainable: Trainable, rank: int, seed: int) -> Any:
    """A model of which low-rank adapters and the embeddings of the new tokens are trained."""
    names = {id(module): name for name, module in trainable.model.named_modules()}
    layers = [trainable.model.get_input_embeddings()]
    if not trainable.model.config.tie_word_embeddings:
        layers.append(trainable.model.get_output_embeddings())
    new = sorted(tag_ids(trainable.tokenizer).values())
    adapters = LoraConfig(
        r=rank,
        lora_alpha=2 * rank,
        target_modules="all-linear",
        trainable_token_indices={names[id(layer)]: new for layer in layers} if new else None,
        task_type="CAUSAL_LM",
    )
    # Where it can, peft looks up the vocabulary's first size, and then stores all embeddings.
    trainable.model.name_or_path = ""
    set_seed(seed)  # adapters begin with random numbers
    with warnings.catch_warnings():
        # peft asks for `is_gradient_checkpointing`, a name that transformers has given up.
        warnings.simplefilter("ignore", FutureWarning)
        return _get_peft_model(trainable.model, adapters)
