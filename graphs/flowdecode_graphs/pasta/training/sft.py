"""Training, stage 1: a model learns from annotated answers, under the mask that it will decode with."""

from __future__ import annotations

import hashlib
import logging
import math
import shutil
import sys
import time
import warnings
from collections import Counter
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import msgspec
import torch
from peft import LoraConfig, get_peft_model
from transformers import ProgressCallback, Trainer, TrainingArguments, set_seed

from flowdecode.errors import ConfigurationError, PlanSyntaxError
from flowdecode_graphs.pasta.layout import Form
from flowdecode_graphs.pasta.training.batches import ByLength
from flowdecode_graphs.pasta.training.collate import Batch, Collator, Encoded, encode, token_log_probs
from flowdecode_graphs.pasta.training.conversation import Conversation
from flowdecode_graphs.pasta.training.models import (
    DType,
    Trainable,
    load_trainable,
    new_ids,
    save_model,
)
from flowdecode_graphs.pasta.training.rows import Example, read_examples

__all__ = ["Encoding", "Settings", "Trained", "checkpoint", "encode_all", "fast_in_bfloat16", "train"]

WARM_UP = 0.03
"""The share of the steps in which the learning rate rises."""
LOGGED = 20
"""After so many steps their mean loss is told."""

_log = logging.getLogger("flowdecode")
_trainer: Any = Trainer  # transformers and peft leave much untyped
_progress: Any = ProgressCallback
_peft_model: Any = get_peft_model


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
    """The highest learning rate; it falls to 0 in a line."""
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
    examples = read_examples(data)
    trainable = load_trainable(settings.model, plain=settings.plain, dtype=settings.dtype, seed=settings.seed)
    told = encode_all(examples, trainable, settings)
    if not told.examples:
        raise ConfigurationError(
            f"Expected examples to train on, got none - in {data}; dropped: {dict(told.dropped)}."
        )
    _claim(out, settings, data)
    for reason, count in told.dropped.items():
        _log.warning(
            "Dropped %d of %d examples: %s.", count, len(told.examples) + told.dropped.total(), reason
        )
    held_out = (
        None if validation is None else encode_all(read_examples(validation), trainable, settings).examples
    )
    model = trainable.model
    if settings.lora is not None:
        set_seed(settings.seed)  # adapters begin with random numbers
        model = _with_adapters(trainable, settings.lora)
    trainer = _Supervised(
        model, told.examples, held_out, _arguments(out, settings, told.examples, held_out), settings
    )
    started, resumed = time.perf_counter(), checkpoint(out)
    trainer.train(resume_from_checkpoint=None if resumed is None else str(resumed))
    seconds = time.perf_counter() - started
    losses = [entry["loss"] for entry in trainer.state.log_history if "loss" in entry]
    validated = trainer.evaluate()["eval_loss"] if held_out else None
    if settings.lora is not None:
        model = model.merge_and_unload()
    save_model(trainable._replace(model=model), out, plain=settings.plain)
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
    longest = int(trainable.model.config.get_text_config().max_position_embeddings)
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


def checkpoint(out: Path) -> Path | None:
    """The last one that was written to its end; what a kill left of another is removed."""
    found = sorted(
        (out / "checkpoints").glob("checkpoint-*"), key=lambda path: int(path.name.rpartition("-")[2])
    )
    while found:
        last = found.pop()
        if (last / "trainer_state.json").exists():  # it is written last
            return last
        shutil.rmtree(last)
    return None


def fast_in_bfloat16() -> bool:
    """Whether the processor multiplies in bfloat16."""
    if torch.cuda.is_available():
        return bool(torch.cuda.is_bf16_supported())
    told: Any = getattr(torch.cpu, "get_capabilities", dict)()
    return bool(told.get("avx512_bf16") or told.get("amx_bf16"))


class _Supervised(_trainer):  # type: ignore[misc]
    """Hugging Face's trainer with our loss, and batches of similar lengths."""

    def __init__(
        self,
        model: Any,
        examples: list[Encoded],
        held_out: list[Encoded] | None,
        arguments: TrainingArguments,
        settings: Settings,
    ) -> None:
        super().__init__(
            model=model,
            args=arguments,
            data_collator=Collator(),
            train_dataset=examples,
            eval_dataset=held_out,
        )
        self.remove_callback(ProgressCallback)
        self.add_callback(_Bar())
        self.tokens = 0
        """Predicted in training so far."""
        self._examples = examples
        self._settings = settings

    def compute_loss(
        self,
        model: Any,
        inputs: Batch,
        return_outputs: bool = False,
        num_items_in_batch: Any = None,
    ) -> torch.Tensor:
        """The mean over the predicted tokens of a batch."""
        predicted = int((inputs["targets"] >= 0).sum())
        if model.training:
            self.tokens += predicted
        return -token_log_probs(model, inputs).sum() / predicted

    def prediction_step(
        self, model: Any, inputs: Any, prediction_loss_only: bool, ignore_keys: Any = None
    ) -> tuple[torch.Tensor, None, None]:
        with torch.no_grad(), self.compute_loss_context_manager():
            return self.compute_loss(model, self._prepare_inputs(inputs)), None, None

    def _get_train_sampler(self, train_dataset: Any = None) -> ByLength:
        lengths = [len(example.tokens) for example in self._examples]
        return ByLength(lengths, self._settings.batch, self._settings.seed)


class _Bar(_progress):  # type: ignore[misc]
    """The trainer's progress bar, whose figures go to standard error too."""

    def on_log(
        self, args: Any, state: Any, control: Any, logs: dict[str, Any] | None = None, **_: Any
    ) -> None:
        told = {name: value for name, value in (logs or {}).items() if name in _TOLD}
        if self.training_bar is not None and told:
            figures = ", ".join(f"{_TOLD[name]} {value:.4g}" for name, value in told.items())
            self.training_bar.write(f"step {state.global_step:,}: {figures}", file=sys.stderr)


_TOLD = {"loss": "loss", "learning_rate": "rate", "eval_loss": "validation loss"}


def _with_adapters(trainable: Trainable, rank: int) -> Any:
    """A model of which low-rank adapters and the embeddings of the new tokens are trained."""
    names = {id(module): name for name, module in trainable.model.named_modules()}
    layers = [trainable.model.get_input_embeddings()]
    if not trainable.model.config.tie_word_embeddings:
        layers.append(trainable.model.get_output_embeddings())
    new = new_ids(trainable.tokenizer)
    adapters = LoraConfig(
        r=rank,
        lora_alpha=2 * rank,
        target_modules="all-linear",
        trainable_token_indices={names[id(layer)]: new for layer in layers} if new else None,
        task_type="CAUSAL_LM",
    )
    # Where it can, peft looks up the vocabulary's first size, and then stores all embeddings.
    trainable.model.name_or_path = ""
    with warnings.catch_warnings():
        # peft asks for `is_gradient_checkpointing`, a name that transformers has given up.
        warnings.simplefilter("ignore", FutureWarning)
        return _peft_model(trainable.model, adapters)


def _arguments(
    out: Path, settings: Settings, examples: list[Encoded], held_out: list[Encoded] | None
) -> TrainingArguments:
    steps = settings.steps or math.ceil(math.ceil(len(examples) / settings.batch) * settings.epochs)
    return TrainingArguments(
        output_dir=str(out / "checkpoints"),
        max_steps=steps,
        per_device_train_batch_size=settings.batch,
        per_device_eval_batch_size=settings.batch,
        learning_rate=settings.rate,
        lr_scheduler_type="linear",
        warmup_steps=round(WARM_UP * steps),
        weight_decay=0.0,
        seed=settings.seed,
        bf16=fast_in_bfloat16() if settings.bf16 is None else settings.bf16,
        use_cpu=not torch.cuda.is_available(),
        dataloader_pin_memory=torch.cuda.is_available(),
        remove_unused_columns=False,
        logging_steps=min(LOGGED, steps),
        save_steps=settings.save_steps,
        save_total_limit=2,
        eval_strategy="steps" if held_out else "no",
        eval_steps=settings.save_steps,
        prediction_loss_only=True,
        report_to="none",
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
    out.mkdir(parents=True, exist_ok=True)
    path.write_bytes(note)
