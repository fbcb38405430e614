"""What a step of the simulated engine costs."""

from __future__ import annotations

from typing import Annotated

import msgspec

__all__ = ["CostModel"]

Seconds = Annotated[float, msgspec.Meta(ge=0)]


class CostModel(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Seconds for one step, that is one forward pass, of an engine.

    The defaults are round numbers in the region of one 8 B model in 16 bit on one large GPU. They are
    an estimate from its weights, its KV cache and the GPU's bandwidth and speed, not a measurement.
    """

    step: Seconds = 6e-3
    """Every step: reading the weights, launching the kernels."""
    per_request: Seconds = 3e-5
    """For each request that decodes a token in the step."""
    per_kv_token: Seconds = 4e-8
    """For each token that these attend to, shared prefixes counted once per request."""
    prefill: Seconds = 0.0
    """Every step that prefills, beside what its tokens take."""
    per_prefill_token: Seconds = 3e-5
    """For each prompt token that was not in the cache."""
    per_prefill_pair: Seconds = 0.0
    """For each of these and each token that it attends to: itself, and all before it."""
    request: Seconds = 0.0
    """From sending a request until it is in the engine's queue. Others don't wait for it."""

    def decoding(self, batch: int, kv_tokens: int) -> float:
        """What a step takes for one token of every request in a batch."""
        return self.step + self.per_request * batch + self.per_kv_token * kv_tokens

    def prefilling(self, tokens: int, pairs: int) -> float:
        """What a step takes for new prompt tokens; nothing where there are none."""
        if not tokens:
            return 0.0
        return self.prefill + self.per_prefill_token * tokens + self.per_prefill_pair * pairs
