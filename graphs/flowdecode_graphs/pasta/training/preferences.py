"""Gradient steps on pairs of answers, of which the first is preferred."""

from __future__ import annotations

import math
from collections.abc import Sequence
from pathlib import Path
from typing import Any, NamedTuple

import msgspec
import torch
from transformers import PrinterCallback, Trainer, TrainerCallback

from flowdecode_graphs.files import write_whole
from flowdecode_graphs.pasta.training.batches import ByLength
from flowdecode_graphs.pasta.training.bonbon import ALPHA, bonbon_loss
from flowdecode_graphs.pasta.training.collate import Batch, Collator, Encoded, token_log_probs
from flowdecode_graphs.pasta.training.progress import SILENT, Progress
from flowdecode_graphs.pasta.training.trainer import arguments_of, check_finite, checkpoint, in_bfloat16

__all__ = ["EncodedPair", "Preferring", "Steps", "log_probs", "reference_log_probs", "train"]


class Steps(msgspec.Struct, frozen=True, kw_only=True):
    """How a round's pairs are learnt."""

    rate: float = 1e-5
    """The learning rate at the beginning; it decays linearly to 0."""
    epochs: int = 1
    batch: int = 8
    """Pairs of a step."""
    at_once: int = 8
    """Pairs of a forward pass, at most: fewer need less memory, and more time."""
    alpha: float = ALPHA
    beta: float
    seed: int = 0
    bf16: bool | None = None
    """Whether products are in bfloat16; None: where the processor is fast at that."""
    save_steps: int = 50
    """After so many steps a checkpoint is written."""


class EncodedPair(NamedTuple):
    """The preferred answer's tokens, and the other's."""

    best: Encoded
    worst: Encoded

    @property
    def length(self) -> int:
        """Of the longer one: what a batch is filled up to."""
        return max(len(self.best.tokens), len(self.worst.tokens))


class _Referred(NamedTuple):
    """A pair, with the log-probabilities that the reference model gives its answers."""

    pair: EncodedPair
    reference: tuple[float, float]


def log_probs(model: Any, pairs: Sequence[EncodedPair], steps: Steps) -> list[tuple[float, float]]:
    """The log-probabilities of both answers of each pair, under a model as it is."""
    found = [(0.0, 0.0)] * len(pairs)
    order = sorted(range(len(pairs)), key=lambda index: pairs[index].length)
    device = model.device
    model.eval()
    with torch.inference_mode(), torch.autocast(device.type, torch.bfloat16, enabled=in_bfloat16(steps.bf16)):
        for first in range(0, len(order), steps.at_once):
            chosen = order[first : first + steps.at_once]
            batch = {name: tensor.to(device) for name, tensor in _collate([pairs[i] for i in chosen]).items()}
            of_all: torch.Tensor = token_log_probs(model, batch).sum(1)
            for place, index in enumerate(chosen):
                found[index] = float(of_all[place]), float(of_all[len(chosen) + place])
    return found


def reference_log_probs(
    model: Any, pairs: Sequence[EncodedPair], path: Path, steps: Steps
) -> list[tuple[float, float]]:
    """The same of the model before its first step, kept in `path` for a run that goes on."""
    if path.exists():
        return msgspec.json.decode(path.read_bytes(), type=list[tuple[float, float]])
    found = log_probs(model, pairs, steps)
    write_whole(path, msgspec.json.encode(found))
    return found


def train(
    model: Any,
    pairs: Sequence[EncodedPair],
    folder: Path,
    steps: Steps,
    *,
    progress: Progress = SILENT,
) -> None:
    """Train a model in place; `folder` keeps what a run needs that goes on where it was stopped.

    The reference is the model as it is given.
    """
    reference = reference_log_probs(model, pairs, folder / "reference.json", steps)
    examples = [_Referred(*both) for both in zip(pairs, reference, strict=True)]
    at_once = max(size for size in range(1, min(steps.at_once, steps.batch) + 1) if steps.batch % size == 0)
    arguments = arguments_of(
        folder,
        steps=math.ceil(len(pairs) / steps.batch) * steps.epochs,
        batch=at_once,
        rate=steps.rate,
        seed=steps.seed,
        bf16=in_bfloat16(steps.bf16),
        save_steps=steps.save_steps,
        gradient_accumulation_steps=steps.batch // at_once,
        logging_strategy="no",
        disable_tqdm=True,
    )
    trainer = _preferring(
        model=model, args=arguments, data_collator=_collate_referred, train_dataset=examples
    )
    trainer.steps = steps
    trainer.lengths = [pair.length for pair in pairs]
    trainer.remove_callback(PrinterCallback)
    trainer.add_callback(_Shown(progress))
    resumed = checkpoint(folder)
    trainer.train(resume_from_checkpoint=None if resumed is None else str(resumed))
    check_finite(model, folder)


class Preferring(Trainer):
    """Hugging Face's trainer with the BoNBoN loss, and batches of pairs of similar lengths."""

    steps: Steps
    lengths: list[int]
    """Of the pairs."""

    def compute_loss(
        self,
        model: Any,
        inputs: Batch,
        return_outputs: bool = False,
        num_items_in_batch: Any = None,
    ) -> torch.Tensor:
        """The mean over the pairs of a batch."""
        best, worst = token_log_probs(model, inputs).sum(1).chunk(2)
        reference = inputs["reference"].to(best.device)
        alpha, beta = self.steps.alpha, self.steps.beta
        return bonbon_loss(best, worst, reference[0], reference[1], alpha=alpha, beta=beta).mean()

    def _get_train_sampler(self, train_dataset: Any = None) -> ByLength:
        return ByLength(self.lengths, self.steps.batch, self.steps.seed)


class _Shown(TrainerCallback):
    """The steps, one by one."""

    def __init__(self, progress: Progress) -> None:
        self._progress = progress

    def on_train_begin(self, args: Any, state: Any, control: Any, **kwargs: Any) -> None:
        self._progress.begin(state.max_steps - state.global_step)

    def on_step_end(self, args: Any, state: Any, control: Any, **kwargs: Any) -> None:
        self._progress.done()


_preferring: Any = Preferring  # transformers leaves much untyped
_collator = Collator()


def _collate(pairs: Sequence[EncodedPair]) -> Batch:
    """The preferred answers of all pairs, then the others, `[2 pairs, L]`."""
    return _collator([*(pair.best for pair in pairs), *(pair.worst for pair in pairs)])


def _collate_referred(examples: Sequence[_Referred]) -> Batch:
    batch = _collate([example.pair for example in examples])
    batch["reference"] = torch.tensor([example.reference for example in examples]).T.contiguous()
    return batch
