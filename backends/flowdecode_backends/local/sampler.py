"""One request's way of drawing tokens, repeatable whatever else is in the batch."""

from __future__ import annotations

import msgspec
import torch

from flowdecode.sampling import SamplingParams

__all__ = ["Defaults", "Sampler"]


class Defaults(msgspec.Struct, frozen=True, kw_only=True):
    """How a model wants to be sampled where a request does not say, from its `generation_config.json`."""

    temperature: float = 0.0
    top_p: float = 1.0
    top_k: int = 0
    min_p: float = 0.0


class Sampler:
    """Draws one token after another; the n-th draw depends on the seed, n and the logits alone."""

    def __init__(self, sampling: SamplingParams, defaults: Defaults) -> None:
        def chosen(asked: float | None, default: float) -> float:
            return default if asked is None else asked

        self.temperature = chosen(sampling.temperature, defaults.temperature)
        self.top_p = chosen(sampling.top_p, defaults.top_p)
        self.min_p = chosen(sampling.min_p, defaults.min_p)
        self.top_k = int(chosen(sampling.top_k, defaults.top_k))
        self._random = torch.Generator()
        if sampling.seed is None:
            self._random.seed()
        else:
            self._random.manual_seed(sampling.seed)

    @property
    def greedy(self) -> bool:
        """Whether the likeliest token is always taken."""
        return self.temperature == 0 or self.top_k == 1

    def draw(self, logits: torch.Tensor) -> int:
        """A token of `logits`, `[vocabulary]`: scaled, cut to top-k, then top-p, then min-p."""
        draw = torch.rand((), generator=self._random, dtype=torch.float64)
        if self.greedy:
            return int(logits.argmax())
        logits = logits.double().cpu() / self.temperature
        count = self.top_k if 0 < self.top_k < len(logits) else len(logits)
        filtered = count < len(logits) or self.top_p < 1 or self.min_p > 0
        if not filtered:
            return self._inverse(logits.softmax(0), draw)
        logits, ids = logits.topk(count)
        weights = logits.softmax(0)
        keep = weights.cumsum(0) - weights < self.top_p
        keep &= weights >= self.min_p * weights[0]
        keep[0] = True
        return int(ids[self._inverse(weights * keep, draw)])

    def _inverse(self, weights: torch.Tensor, draw: torch.Tensor) -> int:
        """The index at which the running sum passes the drawn part of the whole."""
        sums = weights.cumsum(0)
        index = int(torch.searchsorted(sums, draw * sums[-1], right=True))
        return min(index, int(weights.nonzero()[-1]))
