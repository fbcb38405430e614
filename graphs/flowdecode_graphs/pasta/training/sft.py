"""Training, stage 1: a model learns from annotated answers, under the mask that it will decode with."""

from __future__ import annotations

import hashlib
import logging
import math
import time
from collections import Counter
from collections.abc import Iterable
from pathlib import Path

import msgspec
from transformers import TrainingArguments

from flowdecode.errors import ConfigurationError, PlanSyntaxError
from flowdecode_graphs.files import write_whole
from flowdecode_graphs.pasta.layout import Form
from flowdecode_graphs.pasta.training.adapters import with_adapters
from flowdecode_graphs.pasta.training.collate import Encoded, encode
from flowdecode_graphs.pasta.training.conversation import Conversation
from flowdecode_graphs.pasta.training.models import DType, Trainable, load_trainable, save_model
from flowdecode_graphs.pasta.training.rows import Example, read_examples
from flowdecode_graphs.pasta.training.trainer import (
    LOGGED,
    OptimizerName,
    arguments_of,
    check_finite,
    checkpoint,
    in_bfloat16,
    new_trainer,
)

__all__ = ["Encoding", "Settings", "Trained", "encode_all", "train"]

WARM_UP = 0.03
"""The share of the steps in which the learning rate rises."""

_log = logging.getLogger("flowdecode")


class Settings(msgspec.Struct, frozen=True, kw_only=True):
    """How a training goes."""

    model: str
    """A folder, or a name on the hub."""
    form: Form = "shared"
    plain: bool = False
    """Whether the tags are left out: the baseline."""
    exact: bool = False
    """Whether promised lengths need not be multiples of ten."""
    lora: int | None = None
    """The rank of adapters that are trained in the weights' place, and merged into them at the end."""
    epochs: float = 4
    steps: int | None = None
    """In place of epochs."""
    batch: int = 8
    rate: float = 1e-5
    """The highest learning rate; it decays linearly to 0."""
    optimizer: OptimizerName = "adamw"
    main_weight: float = 1.0
    """What a token of the main thread, or the first of a chunk, counts beside the others of chunks."""
    seed: int = 0
    dtype: DType = "float32"
    """Of the weights while they are trained."""
    bf16: bool | None = None
    """Whether products are in bfloat16; None: where the processor is fast at that."""
    save_steps: int = 200
    """After so many steps a checkpoint is written."""


class Trained(msgspec.Struct, frozen=True):
    """What was done."""

    examples: int
    dropped: dict[str, int]
    """Reasons, and how many examples each."""
    steps: int
    loss: float
    """The mean over the last steps that were told."""
    validation_loss: float | None
    tokens_per_second: float
    """Predicted tokens, of the steps that were taken now."""


class Encoding(msgspec.Struct):
    """Examples as a model takes them."""

    examples: list[Encoded]
    dropped: Counter[str]


def train(data: Path, out: Path, settings: Settings, *, validation: Path | None = None) -> Trained:
    """Train, and write the model to `out`; what was stopped goes on from its last checkpoint.

    Raises ConfigurationError where the model or the data can't be used, or `out` holds another training.
    """
    trainable = load_trainable(
        settings.model, add_tags=not settings.plain, dtype=settings.dtype, seed=settings.seed
    )
    told = _encoded(data, trainable, settings)
    held_out = None if validation is None else _encoded(validation, trainable, settings).examples
    model = trainable.model
    if settings.lora is not None:
        model = with_adapters(trainable, settings.lora, settings.seed)
    arguments = _arguments(out, settings, len(told.examples), validated=bool(held_out))
    trainer = new_trainer(
        model,
        told.examples,
        held_out,
        arguments,
        main_weight=settings.main_weight,
        optimizer=settings.optimizer,
    )
    _claim(out, settings, data)
    started, resumed = time.perf_counter(), checkpoint(out)
    trainer.train(resume_from_checkpoint=None if resumed is None else str(resumed))
    seconds = time.perf_counter() - started
    check_finite(model, out)
    losses = [entry["loss"] for entry in trainer.state.log_history if "loss" in entry]
    validated = trainer.evaluate()["eval_loss"] if held_out else None
    if settings.lora is not None:
        model = model.merge_and_unload()
    save_model(trainable._replace(model=model), out, plain=settings.plain, form=settings.form)
    return Trained(
        examples=len(told.examples),
        dropped=dict(told.dropped),
        steps=int(trainer.state.global_step),
        loss=losses[-1],
        validation_loss=validated,
        tokens_per_second=trainer.tokens / seconds,
    )


def encode_all(examples: Iterable[Example], trainable: Trainable, settings: Settings) -> Encoding:
    """Encode what can be trained on; the rest is counted by its reason."""
    conversation = Conversation(trainable.tokenizer)
    longest = trainable.context
    told = Encoding([], Counter())
    for example in examples:
        try:
            encoded = encode(example, conversation, settings.form, settings.plain, exact=settings.exact)
        except PlanSyntaxError as error:
            told.dropped[f"ill-formed ({str(error).partition(',')[0].partition(' - ')[0]})"] += 1
            continue
        if encoded.reach > longest:
            told.dropped[f"longer than the model's context of {longest:,} tokens"] += 1
        else:
            told.examples.append(encoded)
    return told


def _encoded(path: Path, trainable: Trainable, settings: Settings) -> Encoding:
    """The examples of a file; what is dropped is said. Raises ConfigurationError where nothing is left."""
    told = encode_all(read_examples(path), trainable, settings)
    if not told.examples:
        raise ConfigurationError(
            f"Expected examples to train on, got none - in {path}; dropped: {dict(told.dropped)}."
        )
    for reason, count in told.dropped.items():
        total = len(told.examples) + told.dropped.total()
        _log.warning("Dropped %d of %d examples of %s: %s.", count, total, path, reason)
    return told


def _arguments(out: Path, settings: Settings, examples: int, *, validated: bool) -> TrainingArguments:
    steps = settings.steps or math.ceil(math.ceil(examples / settings.batch) * settings.epochs)
    return arguments_of(
        out,
        steps=steps,
        batch=settings.batch,
        rate=settings.rate,
        seed=settings.seed,
        bf16=in_bfloat16(settings.bf16),
        save_steps=settings.save_steps,
        per_device_eval_batch_size=settings.batch,
        warmup_steps=round(WARM_UP * steps),
        logging_steps=min(LOGGED, steps),
        logging_nan_inf_filter=False,
        eval_strategy="steps" if validated else "no",
        eval_steps=settings.save_steps,
        prediction_loss_only=True,
    )


def _claim(out: Path, settings: Settings, data: Path) -> None:
    """Note what is trained in `out`. Raises ConfigurationError where something else was begun there."""
    digest = hashlib.sha256(data.read_bytes()).hexdigest()
    note = msgspec.json.format(msgspec.json.encode({"settings": settings, "data": digest}), indent=2) + b"\n"
    path = out / "sft.json"
    if path.exists() and path.read_bytes() != note:
        raise ConfigurationError(
            f"Expected the settings and the data with which this training began, got others - at {path}. "
            "Name another folder, or remove this one."
        )
    write_whole(path, note)
