"""Train the demo model from nothing: so many minutes, with checkpoints, on a CPU or a GPU."""

from __future__ import annotations

import logging
import time
from pathlib import Path
from typing import Any

import msgspec
import torch
from torch.nn.functional import cross_entropy
from torch.utils.data import DataLoader
from transformers import LlamaConfig, LlamaForCausalLM

from examples.demo_model.corpus import Corpus, fingerprint
from examples.demo_model.tokenizer import CONTEXT, new_tokenizer
from examples.demo_model.tree import PROMPT_WEIGHT, sees
from flowdecode.backend import ModelProfile
from flowdecode_backends.tokens import ChatTokens
from flowdecode_graphs.pasta.training.muon import MuonWithAdamW

__all__ = ["Settings", "Trained", "Training"]

_log = logging.getLogger("demo_model")

FULL_RATE = 0.02
"""Muon's, for the matrices of the layers."""

_torch: Any = torch  # torch leaves much untyped


class Settings(msgspec.Struct, frozen=True, kw_only=True):
    """How the training goes."""

    start: Path | None = None
    """A model's folder to start from, an earlier stage's; None: from nothing."""
    minutes: float = 80
    """Of steps, stops and starts left out; the learning rate follows the time that is left."""
    rows: int = 4
    """Of a batch."""
    rate: float = 1.0
    """The highest learning rate, of `FULL_RATE`; a later stage starts lower."""
    warm_up_steps: int = 40
    flat: float = 0.4
    """The share of the time after which the rates fall."""
    checkpoint_minutes: float = 5
    order: float = 0.4
    """The share of trees that are about nothing but order."""
    compile: bool = True
    layers: int = 6


class Trained(msgspec.Struct, frozen=True):
    """What a model was trained on and how long: `training.json` beside its weights."""

    prompts: str
    """The corpus's fingerprint."""
    steps: int
    minutes: float


class Training:
    """The model, its optimizer and where they stand; `folder` holds all of it."""

    def __init__(self, folder: Path, profile: ModelProfile, settings: Settings) -> None:
        self.folder = folder
        self.settings = settings
        self.profile = profile
        self.device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
        _torch.manual_seed(0)
        self.tokenizer: Any = new_tokenizer(profile)
        self.tokens = ChatTokens(self.tokenizer)
        model: Any = LlamaForCausalLM(_config(self.tokenizer, settings.layers))
        self.model = model.to(self.device)
        self.optimizer = MuonWithAdamW(self.model, FULL_RATE * settings.rate)
        self._rates = [group["lr"] for group in self.optimizer.param_groups]
        self.step = 0
        self.seconds = 0.0
        self._loss: Any = self._eager_loss
        if settings.compile:
            self._loss = _torch.compile(self._eager_loss, dynamic=False)
        if (folder / "checkpoint.pt").exists():
            self._resume()
        elif settings.start:
            self._load(settings.start)

    def run(self) -> None:
        """Train to the end of the time."""
        corpus = Corpus(self.tokens, self.profile, "train", 1 + self.step, self.settings.order)
        rows = self._rows(corpus)
        settings, saved, losses = self.settings, self.seconds, list[float]()
        while self.seconds < 60 * settings.minutes:
            started = time.perf_counter()
            losses.append(self._take_step(next(rows)))
            if self.step > 2:  # compiling is not training
                self.seconds += time.perf_counter() - started
            if self.step % 50 == 0:
                _log.info(
                    "step %d, %.1f min, loss %.4f", self.step, self.seconds / 60, sum(losses) / len(losses)
                )
                losses.clear()
            if self.seconds - saved > 60 * settings.checkpoint_minutes:
                saved = self.seconds
                self._validate()
                self.save()
        self._validate()
        self.save()

    def save(self) -> None:
        """Write the checkpoint, and beside it the model as others load it."""
        state = {
            "model": self.model.state_dict(),
            "optimizer": self.optimizer.state_dict(),
            "step": self.step,
            "seconds": self.seconds,
        }
        self.folder.mkdir(parents=True, exist_ok=True)
        torch.save(state, self.folder / "checkpoint.tmp")
        (self.folder / "checkpoint.tmp").replace(self.folder / "checkpoint.pt")
        copy: Any = LlamaForCausalLM(self.model.config)
        copy.load_state_dict(self.model.state_dict())
        copy.to(torch.bfloat16).save_pretrained(self.folder / "model")
        self.tokenizer.save_pretrained(self.folder / "model")
        _write_json(self.folder / "model" / "flowdecode.json", self.profile)
        trained = Trained(fingerprint(self.tokens, self.profile), self.step, round(self.seconds / 60, 1))
        _write_json(self.folder / "model" / "training.json", trained)

    def _resume(self) -> None:
        state = torch.load(self.folder / "checkpoint.pt", weights_only=True)
        self.model.load_state_dict(state["model"])
        self.optimizer.load_state_dict(state["optimizer"])
        self.step, self.seconds = state["step"], state["seconds"]
        _log.info("resumed at step %d, %.1f min", self.step, self.seconds / 60)

    def _load(self, folder: Path) -> None:
        auto: Any = LlamaForCausalLM
        self.model.load_state_dict(auto.from_pretrained(folder, dtype=torch.float32).state_dict())
        _log.info("started from %s", folder)

    def _rows(self, corpus: Corpus) -> Any:
        loader = DataLoader(corpus, batch_size=self.settings.rows, num_workers=1, prefetch_factor=8)
        return iter(loader)

    def _take_step(self, batch: dict[str, torch.Tensor]) -> float:
        rate = self._rate()
        loss: Any = self._loss(**self._moved(batch))[0]
        loss.backward()
        for group, full in zip(self.optimizer.param_groups, self._rates, strict=True):
            group["lr"] = full * rate
        self.optimizer.step()
        self.optimizer.zero_grad(set_to_none=True)
        self.step += 1
        return float(loss.detach())

    def _rate(self) -> float:
        """Warm up, stay, fall to nothing."""
        done = self.seconds / (60 * self.settings.minutes)
        return min(1.0, (self.step + 1) / self.settings.warm_up_steps) * min(
            1.0, (1 - done) / (1 - self.settings.flat)
        )

    def _moved(self, batch: dict[str, torch.Tensor]) -> dict[str, torch.Tensor]:
        return {name: tensor.to(self.device) for name, tensor in batch.items()}

    def _eager_loss(
        self,
        tokens: torch.Tensor,
        positions: torch.Tensor,
        parents: torch.Tensor,
        ends: torch.Tensor,
        weights: torch.Tensor,
    ) -> tuple[torch.Tensor, torch.Tensor]:
        """The weighted mean loss of a batch `[rows, LENGTH]`, and which tokens were the likeliest."""
        with torch.autocast(tokens.device.type, dtype=torch.bfloat16):
            hidden = self.model.model(
                input_ids=tokens, position_ids=positions, attention_mask=sees(ends)[:, None], use_cache=False
            ).last_hidden_state
            before = hidden.gather(1, parents[..., None].expand(-1, -1, hidden.shape[-1]))
            logits = self.model.lm_head(before).float()
        losses = cross_entropy(logits.flatten(0, 1), tokens.flatten(), reduction="none")
        loss = (losses * weights.flatten()).sum() / weights.sum()
        return loss, logits.detach().argmax(-1) == tokens

    def _validate(self, batches: int = 8) -> None:
        """Loss and accuracy of the answers' tokens on validation's questions."""
        rows = self._rows(Corpus(self.tokens, self.profile, "validation", seed=1))
        losses, right, all_ = 0.0, 0.0, 0.0
        for _ in range(batches):
            batch = self._moved(next(rows))
            loss, hits = self._loss(**batch)
            answers = batch["weights"] > PROMPT_WEIGHT
            losses += float(loss.detach()) / batches
            right += float((hits & answers).sum())
            all_ += float(answers.sum())
        _log.info("validation at step %d: loss %.4f, accuracy %.4f", self.step, losses, right / all_)


def _write_json(path: Path, content: msgspec.Struct) -> None:
    path.write_bytes(msgspec.json.format(msgspec.json.encode(content), indent=2) + b"\n")


def _config(tokenizer: Any, layers: int) -> LlamaConfig:
    return LlamaConfig(
        vocab_size=len(tokenizer),
        hidden_size=256,
        intermediate_size=704,
        num_hidden_layers=layers,
        num_attention_heads=4,
        num_key_value_heads=4,
        max_position_embeddings=CONTEXT,
        tie_word_embeddings=True,
        bos_token_id=None,
        eos_token_id=tokenizer.eos_token_id,
        pad_token_id=tokenizer.pad_token_id,
    )
