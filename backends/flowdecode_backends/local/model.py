"""A Hugging Face causal language model, checked to run over the pool, with its tokenizer."""

from __future__ import annotations

import logging
import re
import time
from pathlib import Path
from typing import Any, cast

import msgspec
import torch
from transformers import (
    AttentionInterface,
    AutoConfig,
    AutoModelForCausalLM,
    AutoTokenizer,
)

from flowdecode.backend import ModelProfile
from flowdecode.context import Block, Context
from flowdecode.errors import ConfigurationError
from flowdecode_backends.local.attention import NAME, pool_attention
from flowdecode_backends.local.faster import make_faster
from flowdecode_backends.local.grammar import Grammars
from flowdecode_backends.local.pool import Pool
from flowdecode_backends.local.sampler import Defaults
from flowdecode_backends.local.step import Step
from flowdecode_backends.local.thread import Thread
from flowdecode_backends.tokens import ChatTokens

__all__ = ["LanguageModel", "Source"]

_log = logging.getLogger("flowdecode")
_DTYPES = {"float32": torch.float32, "bfloat16": torch.bfloat16, "float16": torch.float16}
_KNOWN_LAYERS = {"full_attention", "sliding_attention"}
_HUB_NAME = re.compile(r"[\w-][\w.-]*(/[\w.-]+)?")
_LONGEST_REASON = 300
_PROBE = 6
_TOLERANCE = {torch.float32: 1e-3, torch.bfloat16: 0.5, torch.float16: 0.1}

# transformers leaves these untyped.
_auto_config: Any = AutoConfig
_auto_model: Any = AutoModelForCausalLM
_auto_tokenizer: Any = AutoTokenizer
_attention: Any = AttentionInterface
_attention.register(NAME, pool_attention)


class Source(msgspec.Struct, frozen=True):
    """Where a model comes from and how it runs: one engine each in a process."""

    path: str
    """A folder, or a name on the Hugging Face hub."""
    dtype: str | None = None
    """None: float32 on a CPU, else as the weights are stored."""
    device: str | None = None
    """None: a GPU if there is one, else the CPU."""

    def resolved(self) -> Source:
        """The same with its defaults filled in: equal ones share an engine. Raises ConfigurationError."""
        folder = Path(self.path).expanduser()
        if not folder.is_dir() and (folder.exists() or not _HUB_NAME.fullmatch(self.path)):
            raise ConfigurationError(
                f"Expected a model's folder, {self.path!r} is none. Name one that holds config.json and "
                "weights, or a model of the Hugging Face hub, such as 'local:Qwen/Qwen3-0.6B'."
            )
        device = str(_device(self.device))
        return Source(
            path=str(folder.resolve()) if folder.is_dir() else self.path,
            dtype="float32" if self.dtype is None and device == "cpu" else self.dtype,
            device=device,
        )


class LanguageModel:
    """An unmodified model whose attention reads the pool."""

    def __init__(self, source: Source) -> None:
        """Load and check a resolved source. Raises ConfigurationError."""
        started = time.perf_counter()
        self.name = Path(source.path).name
        self.device = torch.device(source.device or "cpu")
        folder = Path(source.path)
        local = folder.is_dir()
        options: dict[str, Any] = {"local_files_only": True} if local else {}
        _log.info("Loading %s on %s.", source.path, self.device)
        try:
            config = _auto_config.from_pretrained(source.path, **options)
            _refuse_other_layers(config, self.name)
            tokenizer = _auto_tokenizer.from_pretrained(source.path, **options)
            self.dtype = _dtype(source.dtype, config)
            model = _auto_model.from_pretrained(source.path, dtype=self.dtype, **options)
        except (OSError, ValueError, KeyError) as error:
            raise ConfigurationError(_not_loaded(source.path, local, error)) from error
        self.model: Any = model.to(self.device).eval()
        self.tokens = ChatTokens(tokenizer, self.name)
        self.tokens.count(Context.of([Block("user", "Hello")]))  # raises where there is no usable template
        text = config.get_text_config()
        if not getattr(text, "max_position_embeddings", None):
            raise _unsupported(self.name, "its config.json has no max_position_embeddings")
        self.context_length = int(text.max_position_embeddings)
        self.vocabulary = int(text.vocab_size)
        self.profile = ModelProfile.read(folder)
        generation: Any = self.model.generation_config
        self.stop_ids = self.tokens.stop_ids() | _ids(generation.eos_token_id) | _ids(text.eos_token_id)
        self.defaults = Defaults.of(generation, ends=sorted(self.stop_ids), device=self.device)
        self.grammars = Grammars.of(tokenizer, self.vocabulary, sorted(self.stop_ids))
        parameters = sum(parameter.numel() for parameter in self.model.parameters())
        self.bytes = sum(parameter.nbytes for parameter in self.model.parameters())
        """Of its weights."""
        self.bytes_per_slot = self._check()
        self._check_window(getattr(text, "sliding_window", None))
        _log.info(
            "Loaded %s in %.1f s: %.4g million parameters, %s on %s.",
            self.name,
            time.perf_counter() - started,
            parameters / 1e6,
            str(self.dtype).removeprefix("torch."),
            self.device,
        )

    def new_step(self, pool: Pool) -> Step:
        """An empty step over `pool`."""
        return Step(pool, self.device)

    @torch.inference_mode()
    def forward(self, step: Step, wanted: list[int]) -> torch.Tensor:
        """Run a step; the float32 logits behind the feeds of the `wanted` numbers, `[wanted, vocabulary]`."""
        step.close()
        output: Any = self.model(
            input_ids=torch.tensor([step.tokens], device=self.device),
            position_ids=torch.tensor([step.positions], device=self.device),
            use_cache=False,
            logits_to_keep=torch.tensor([step.last[feed] for feed in wanted], device=self.device),
            step=step,
        )
        return cast(torch.Tensor, output.logits[0].float())

    def _check(self) -> int:
        """Compare the pool with the model's own attention on a few tokens; returns the bytes of a slot."""
        tokens = [token % self.vocabulary for token in range(7, 7 + 5 * _PROBE, 5)]
        own = self._own_logits(tokens)
        if self.device.type == "cpu":
            make_faster(self.model)
        self.model.set_attn_implementation(NAME)
        pool = Pool(2 * _PROBE, 1)
        thread = Thread(pool)
        thread.say(tokens)
        try:
            for count in (_PROBE - 2, 1):
                step = self.new_step(pool)
                self.forward(step, [step.feed(thread, count)])
            step = self.new_step(pool)
            ours = self.forward(step, [step.feed(thread, 1)])
        except Exception as error:
            raise _unsupported(self.name, str(error)) from error
        difference = float((ours[0] - own).abs().max()) / max(1.0, float(own.abs().max()))
        if not difference <= _TOLERANCE[self.dtype]:
            raise _unsupported(self.name, f"its logits differ by {difference:.2g}")
        return pool.bytes_per_slot

    def _check_window(self, window: int | None) -> None:
        """Refuse a model that keeps its window from the attention function, and masks by it itself."""
        if window is None or window >= self.context_length:
            return
        told: set[int | None] = set()

        def listen(*args: Any, **kwargs: Any) -> Any:
            told.add(kwargs.get("sliding_window"))
            return pool_attention(*args, **kwargs)

        _attention.register(f"{NAME}_listen", listen)
        self.model.set_attn_implementation(f"{NAME}_listen")
        thread = Thread(Pool(1, 1))
        thread.say([0])
        step = self.new_step(thread.pool)
        step.feed(thread, 1)
        self.forward(step, [0])
        self.model.set_attn_implementation(NAME)
        if window not in told:
            raise _unsupported(self.name, "it has a sliding window that its attention is not told")

    @torch.inference_mode()
    def _own_logits(self, tokens: list[int]) -> torch.Tensor:
        output: Any = self.model(input_ids=torch.tensor([tokens], device=self.device), use_cache=False)
        return cast(torch.Tensor, output.logits[0, -1].float())


def _device(name: str | None) -> torch.device:
    try:
        device = torch.device(name or ("cuda" if torch.cuda.is_available() else "cpu"))
        torch.empty(0, device=device)
    except (RuntimeError, AssertionError) as error:
        raise ConfigurationError(f"Expected a device such as cpu or cuda:0, got {name!r}: {error}") from error
    return device


def _dtype(name: str | None, config: Any) -> torch.dtype:
    if name is None:
        stored: torch.dtype = config.dtype
        return stored if stored in _DTYPES.values() else torch.float32
    if name not in _DTYPES:
        raise ConfigurationError(f"Expected one of {', '.join(_DTYPES)}, got {name!r} - at `dtype`.")
    return _DTYPES[name]


def _refuse_other_layers(config: Any, name: str) -> None:
    kinds = set(getattr(config.get_text_config(), "layer_types", None) or ())
    if others := kinds - _KNOWN_LAYERS:
        raise _unsupported(name, f"it has layers of the kind {', '.join(sorted(others))}")


def _unsupported(name: str, why: str) -> ConfigurationError:
    return ConfigurationError(
        f"Expected a model whose every layer is plain or sliding-window attention, {name} can't be run over "
        f"a shared KV pool: {why}. Serve it with SGLang and use sglang://, or choose a model of the Llama, "
        "Qwen or Gemma families."
    )


def _not_loaded(path: str, local: bool, error: Exception) -> str:
    """What to say where transformers can't load a model: the first line of what it says is the reason."""
    reason = str(error).strip().partition("\n")[0]
    if len(reason) > _LONGEST_REASON:
        reason = reason[:_LONGEST_REASON] + "\u2026"
    if local:
        return (
            f"Expected a folder with a causal language model and its tokenizer, as `save_pretrained` writes "
            f"them, got {path!r}: {reason}"
        )
    return (
        f"Expected a model's folder or its name on the Hugging Face hub: there is no folder {path!r}, and "
        f"the hub gave no such model: {reason} Check the name and the network; a model that needs a "
        "permission needs `hf auth login`."
    )


def _ids(ids: int | list[int] | None) -> frozenset[int]:
    return frozenset([ids] if isinstance(ids, int) else ids or ())
