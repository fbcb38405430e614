"""How tokens are drawn: all rows of a step at once, each repeatable whatever else is in the batch."""

from __future__ import annotations

import random
from collections.abc import Callable, Sequence
from typing import Any, cast

import msgspec
import torch
from transformers import (
    NoBadWordsLogitsProcessor,
    NoRepeatNGramLogitsProcessor,
    RepetitionPenaltyLogitsProcessor,
    SequenceBiasLogitsProcessor,
    SuppressTokensLogitsProcessor,
)

from flowdecode.sampling import SamplingParams
from flowdecode_backends.local.grammar import Matcher

__all__ = ["Defaults", "Sampler", "draw"]

_LIKELIEST = 256
"""Tokens that cuts look at first; all are sorted only where that is not enough."""

_Processor = Callable[[torch.Tensor, torch.Tensor], torch.Tensor]
"""One of transformers' logits processors: ids `[1, tokens]` and logits `[1, vocabulary]` to logits."""


class Defaults(msgspec.Struct, frozen=True, kw_only=True):
    """How a model wants to be sampled where a request does not say, from its `generation_config.json`."""

    temperature: float = 0.0
    top_p: float = 1.0
    top_k: int = 0
    min_p: float = 0.0
    repetition_penalty: float = 1.0
    processors: tuple[_Processor, ...] = ()
    """What else bends its logits."""

    @classmethod
    def of(cls, generation: Any, *, ends: Sequence[int], device: torch.device) -> Defaults:
        """Those of a `GenerationConfig` for a model whose answers end with `ends`."""
        processors: list[Any] = []
        if generation.sequence_bias:
            processors.append(SequenceBiasLogitsProcessor(generation.sequence_bias))
        if generation.no_repeat_ngram_size:
            processors.append(NoRepeatNGramLogitsProcessor(generation.no_repeat_ngram_size))
        if generation.bad_words_ids:
            processors.append(NoBadWordsLogitsProcessor(generation.bad_words_ids, list(ends) or None))
        if generation.suppress_tokens:
            processors.append(SuppressTokensLogitsProcessor(generation.suppress_tokens, str(device)))
        drawn: dict[str, Any] = {}
        if generation.do_sample:
            drawn = {
                "temperature": 1.0 if generation.temperature is None else generation.temperature,
                "top_p": generation.top_p or 1.0,
                "top_k": generation.top_k or 0,
                "min_p": generation.min_p or 0.0,
            }
        penalty = generation.repetition_penalty or 1.0
        return cls(repetition_penalty=penalty, processors=tuple(processors), **drawn)


class Sampler:
    """One strand's way of drawing: the n-th draw depends on the seed, n and the logits alone."""

    def __init__(
        self,
        sampling: SamplingParams,
        defaults: Defaults,
        *,
        before: Sequence[int] = (),
        matcher: Matcher | None = None,
    ) -> None:
        """`before` is what the strand goes on behind; `matcher` constrains what it says."""

        def chosen(asked: float | None, default: float) -> float:
            return default if asked is None else asked

        self.temperature = chosen(sampling.temperature, defaults.temperature)
        self.top_p = chosen(sampling.top_p, defaults.top_p)
        self.min_p = chosen(sampling.min_p, defaults.min_p)
        self.top_k = int(chosen(sampling.top_k, defaults.top_k))
        self.greedy = self.temperature == 0 or self.top_k == 1
        """Whether the likeliest token is always taken."""
        self.cuts = self.top_k > 0 or self.top_p < 1 or self.min_p > 0
        """Whether it leaves unlikely tokens out."""
        self._random = None if self.greedy else random.Random(sampling.seed)
        self._matcher = matcher
        bias = sampling.logit_bias
        self._bias = (torch.tensor(list(bias)), torch.tensor(list(bias.values()))) if bias else None
        penalty = float(chosen(sampling.repetition_penalty, defaults.repetition_penalty))
        penalties: list[Any] = [] if penalty == 1 else [RepetitionPenaltyLogitsProcessor(penalty)]
        self._processors: tuple[_Processor, ...] = (*penalties, *defaults.processors)
        self._ids = torch.tensor([before], dtype=torch.int64) if self._processors else None
        self.bends = bool(bias or self._processors or matcher)
        """Whether it changes logits before it draws."""

    @property
    def ended(self) -> bool:
        """Whether its grammar lets nothing more come."""
        return self._matcher is not None and self._matcher.ended

    def accept(self, token: int) -> None:
        """Go on behind a token that was drawn. Raises BackendError."""
        if self._ids is not None:
            self._ids = torch.cat((self._ids, self._ids.new_tensor([[token]])), 1)
        if self._matcher is not None:
            self._matcher.accept(token)

    def bend(self, logits: torch.Tensor) -> None:
        """Change the logits of a row, `[vocabulary]`, in place."""
        if self._bias is not None:
            ids, values = self._bias
            logits[ids.to(logits.device)] += values.to(logits.device)
        if self._ids is not None:
            self._ids = self._ids.to(logits.device)
            for process in self._processors:
                logits.copy_(process(self._ids, logits[None])[0])
        if self._matcher is not None:
            logits.masked_fill_(~self._matcher.allowed().to(logits.device), float("-inf"))

    def chance(self) -> float:
        """The next random number, from 0 to below 1."""
        assert self._random is not None
        return self._random.random()


@torch.inference_mode()
def draw(logits: torch.Tensor, samplers: Sequence[Sampler]) -> list[int]:
    """A token for each row of `logits`, `[rows, vocabulary]`, which are changed in place."""
    for row, sampler in enumerate(samplers):
        if sampler.bends:
            sampler.bend(logits[row])
    tokens = _likeliest(logits)
    rows = [row for row, sampler in enumerate(samplers) if not sampler.greedy]
    if rows:
        tokens[rows] = _drawn(logits[rows], [samplers[row] for row in rows])
    return cast(list[int], tokens.tolist())  # pyright: ignore[reportUnknownMemberType]


def _likeliest(logits: torch.Tensor) -> torch.Tensor:
    """The token of each row with the largest logit, `[rows]`. On a CPU NumPy finds it ten times as fast."""
    if logits.device.type == "cpu":
        return torch.from_numpy(logits.numpy().argmax(-1))  # pyright: ignore[reportUnknownMemberType]
    return logits.argmax(-1)


def _drawn(logits: torch.Tensor, samplers: list[Sampler]) -> torch.Tensor:
    """The tokens of rows that are not greedy, `[rows]`."""
    size = logits.shape[1]
    # Bounds within which float32 can divide: what lies beyond is greedy, or as good as even.
    temperatures = _column(logits, [min(max(sampler.temperature, 1e-30), 1e30) for sampler in samplers])
    scores = logits.sub_(logits.amax(-1, keepdim=True)).div_(temperatures)
    chances = _column(logits, [sampler.chance() for sampler in samplers], torch.float64)
    tokens = torch.empty_like(chances[:, 0], dtype=torch.int64)
    rows = [row for row, sampler in enumerate(samplers) if not sampler.cuts]
    if rows:
        tokens[rows] = _picked(scores[rows].exp(), chances[rows])
    rows = [row for row, sampler in enumerate(samplers) if sampler.cuts]
    for count in (_LIKELIEST, size):
        if rows:
            some = scores[rows]
            largest, ids = some.topk(count) if count < size else some.sort(descending=True)
            total = some.exp().sum(-1, keepdim=True)
            weights, enough = kept(largest, total, size, [samplers[row] for row in rows])
            tokens[rows] = ids.gather(1, _picked(weights, chances[rows])[:, None])[:, 0]
            rows = [row for row, is_enough in zip(rows, enough, strict=True) if not is_enough]
    return tokens


def kept(
    scores: torch.Tensor, total: torch.Tensor, size: int, samplers: Sequence[Sampler]
) -> tuple[torch.Tensor, list[bool]]:
    """Weights of the largest of a row's `size` scores, `[rows, largest]`: cut to top-k, top-p, then min-p.

    The largest score of a row is 0, and `total`, `[rows, 1]`, the weight of all. Also whether a row's
    cuts lie within what is given.
    """
    given = scores.shape[1]
    weights = scores.double().exp()
    top_k = _column(scores, [min(sampler.top_k or size, size) for sampler in samplers], torch.int64)
    top_p = _column(scores, [sampler.top_p for sampler in samplers], torch.float64)
    min_p = _column(scores, [sampler.min_p for sampler in samplers], torch.float64)
    last = weights[:, -1:]
    rank = torch.arange(given, device=scores.device)
    weights = weights.where(rank < top_k, 0)
    sums = weights.cumsum(-1)
    share = top_p * total.double().where(top_k > given, sums[:, -1:])
    enough = (top_k <= given) | (top_k == size) & ((top_p < 1) & (sums[:, -1:] >= share) | (last < min_p))
    within = (top_p >= 1) | (sums - weights < share)
    weights = weights.where((rank == 0) | within & (weights >= min_p), 0)
    return weights, cast(list[bool], enough[:, 0].tolist())  # pyright: ignore[reportUnknownMemberType]


def _picked(weights: torch.Tensor, chances: torch.Tensor) -> torch.Tensor:
    """The index in each row at which the running sum passes its part of the whole, `[rows]`."""
    sums = weights.cumsum(-1, dtype=torch.float64)
    index = torch.searchsorted(sums, sums[:, -1:] * chances, right=True)[:, 0]
    return index.clamp(max=weights.shape[1] - 1)  # weights that are no numbers are never passed


def _column(like: torch.Tensor, values: Sequence[float], dtype: torch.dtype | None = None) -> torch.Tensor:
    return torch.tensor(values, dtype=dtype or like.dtype, device=like.device)[:, None]
