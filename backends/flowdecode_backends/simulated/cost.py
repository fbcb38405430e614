"""What a step of the simulated engine costs."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import msgspec

from flowdecode.errors import ConfigurationError

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
    per_prefill_token: Seconds = 3e-5
    """For each prompt token that was not in the cache."""

    def seconds(self, batch: int, kv_tokens: int, prefill_tokens: int) -> float:
        """The duration of a step: a + b * batch + c * kv, and the prefill of what is new."""
        return (
            self.step
            + self.per_request * batch
            + self.per_kv_token * kv_tokens
            + self.per_prefill_token * prefill_tokens
        )

    @classmethod
    def read(cls, path: str) -> CostModel:
        """The cost model in a JSON file. Raises ConfigurationError."""
        try:
            return msgspec.json.decode(Path(path).read_bytes(), type=cls)
        except (OSError, msgspec.DecodeError) as error:
            raise ConfigurationError(f"Expected a cost model as JSON in {path!r}: {error}") from None
