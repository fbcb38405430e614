"""Hugging Face's trainer for encoded examples: our loss, batches of similar lengths, one progress bar."""

from __future__ import annotations

import shutil
import sys
from pathlib import Path
from typing import Any, Literal

import msgspec
import torch
from transformers import ProgressCallback, Trainer, TrainingArguments

from flowdecode.errors import FlowdecodeError
from flowdecode_graphs.pasta.training.batches import ByLength
from flowdecode_graphs.pasta.training.collate import Batch, Collator, Encoded, token_log_probs
from flowdecode_graphs.pasta.training.muon import MuonWithAdamW

__all__ = [
    "LOGGED",
    "OptimizerName",
    "Supervised",
    "arguments_of",
    "check_finite",
    "checkpoint",
    "in_bfloat16",
    "new_trainer",
]

OptimizerName = Literal["adamw", "muon"]

LOGGED = 20
"""After so many steps their mean loss is told."""

_TOLD = {"loss": "loss", "learning_rate": "rate", "eval_loss": "validation loss"}


def new_trainer(
    model: Any,
    examples: list[Encoded],
    held_out: list[Encoded] | None,
    arguments: TrainingArguments,
    *,
    main_weight: float,
    optimizer: OptimizerName,
) -> Any:
    """A `Supervised` trainer, with one progress bar."""
    trainer = _supervised(
        model=model,
        args=arguments,
        data_collator=Collator(),
        train_dataset=examples,
        eval_dataset=held_out,
    )
    trainer.main_weight = main_weight
    if optimizer == "muon":
        trainer.optimizer = MuonWithAdamW(model, arguments.learning_rate)
    trainer.lengths = [len(example.tokens) for example in examples]
    trainer.remove_callback(ProgressCallback)
    trainer.add_callback(_Bar())
    return trainer


class Supervised(Trainer):
    """Hugging Face's trainer with our loss, and batches of similar lengths."""

    lengths: list[int]
    """Of the examples."""
    main_weight = 1.0
    """What a token of the main thread, or the first of a chunk, counts beside the others of chunks."""
    tokens = 0
    """Predicted in training so far."""

    def compute_loss(
        self,
        model: Any,
        inputs: Batch,
        return_outputs: bool = False,
        num_items_in_batch: Any = None,
    ) -> torch.Tensor:
        """The weighted mean over the predicted tokens of a batch."""
        targets = inputs["targets"]
        if model.training:
            self.tokens += int((targets >= 0).sum())
        weighted = inputs["weighted"].gather(1, targets.clamp(min=0))
        weights = torch.where(weighted, self.main_weight, 1.0) * (targets >= 0)
        return -(token_log_probs(model, inputs) * weights).sum() / weights.sum()

    def prediction_step(
        self, model: Any, inputs: Any, prediction_loss_only: bool, ignore_keys: Any = None
    ) -> tuple[torch.Tensor, None, None]:
        with torch.no_grad(), self.compute_loss_context_manager():
            return self.compute_loss(model, self._prepare_inputs(inputs)), None, None

    def _get_train_sampler(self, train_dataset: Any = None) -> ByLength:
        return ByLength(self.lengths, self.args.per_device_train_batch_size, self.args.seed)


class _Bar(ProgressCallback):
    """The trainer's progress bar, whose figures go to standard error too."""

    def on_log(
        self, args: Any, state: Any, control: Any, logs: dict[str, Any] | None = None, **_: Any
    ) -> None:
        told = {name: value for name, value in (logs or {}).items() if name in _TOLD}
        bar: Any = self.training_bar
        if bar is not None and told:
            figures = ", ".join(f"{_TOLD[name]} {value:.4g}" for name, value in told.items())
            bar.write(f"step {state.global_step:,}: {figures}", file=sys.stderr)


_supervised: Any = Supervised  # transformers leaves much untyped


def checkpoint(out: Path) -> Path | None:
    """The last one that was written to its end; what a kill left of another is removed."""
    found = sorted(
        (out / "checkpoints").glob("checkpoint-*"), key=lambda path: int(path.name.rpartition("-")[2])
    )
    while found:
        last = found.pop()
        try:
            msgspec.json.decode((last / "trainer_state.json").read_bytes())  # it is written last
        except (OSError, msgspec.DecodeError):
            shutil.rmtree(last)
        else:
            return last
    return None


def arguments_of(
    out: Path, *, steps: int, batch: int, rate: float, seed: int, bf16: bool, save_steps: int, **others: Any
) -> TrainingArguments:
    """What all trainings share: a rate that decays linearly to 0, checkpoints in `out`, one device."""
    arguments = TrainingArguments(
        output_dir=str(out / "checkpoints"),
        max_steps=steps,
        per_device_train_batch_size=batch,
        learning_rate=rate,
        lr_scheduler_type="linear",
        weight_decay=0.0,
        seed=seed,
        bf16=bf16,
        use_cpu=not torch.cuda.is_available(),
        dataloader_pin_memory=torch.cuda.is_available(),
        remove_unused_columns=False,
        save_steps=save_steps,
        save_total_limit=2,
        report_to="none",
        **others,
    )
    # A batch, its mask and its loss are of one device, however many there are.
    arguments._n_gpu = min(1, arguments.n_gpu)  # pyright: ignore[reportPrivateUsage]
    return arguments


def check_finite(model: Any, folder: Path) -> None:
    """Raises FlowdecodeError where a weight is none: the learning went astray."""
    for name, parameter in model.named_parameters():
        if not torch.isfinite(parameter).all():
            raise FlowdecodeError(
                f"Expected finite weights, got others in {name}. Lower --rate, and remove {folder}."
            )


def in_bfloat16(wanted: bool | None) -> bool:
    """Whether products are in bfloat16: as is wanted, else where the processor is fast at that."""
    if wanted is not None:
        return wanted
    if torch.cuda.is_available():
        return bool(torch.cuda.is_bf16_supported())
    capabilities: Any = getattr(torch.cpu, "get_capabilities", None)
    told: dict[str, Any] = {} if capabilities is None else capabilities()
    return bool(told.get("avx512_bf16") or told.get("amx_bf16"))
