"""How tokens are drawn: what users write (`Sampling`) and what engines get (`SamplingParams`)."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, TypedDict

import msgspec

from flowdecode.errors import ConfigurationError

__all__ = ["Sampling", "SamplingParams"]


class Sampling(TypedDict, total=False):
    """The sampling keywords of `run` and `stream`, and what `Graph.decode` takes as `sampling`.

    None is the model's default.
    """

    max_tokens: int | None
    temperature: float | None
    top_p: float | None
    top_k: int | None
    min_p: float | None
    stop: str | Sequence[str] | None
    seed: int | None
    chat_template_kwargs: Mapping[str, Any] | None


class SamplingParams(msgspec.Struct, frozen=True, kw_only=True):
    """Checked sampling parameters; None is the engine's or the model's default, temperature 0 is greedy."""

    max_tokens: int | None = None
    temperature: float | None = None
    top_p: float | None = None
    top_k: int | None = None
    min_p: float | None = None
    stop: tuple[str, ...] = ()
    seed: int | None = None

    def __post_init__(self) -> None:
        _within("max_tokens", self.max_tokens, 1)
        _within("temperature", self.temperature, 0)
        _within("top_p", self.top_p, 0, 1)
        _within("top_k", self.top_k, 1)
        _within("min_p", self.min_p, 0, 1)
        _within("seed", self.seed, 0)
        if "" in self.stop:
            raise ConfigurationError("Expected stop strings of at least one character, got '' - at `stop`.")

    @classmethod
    def read(cls, sampling: Mapping[str, Any]) -> SamplingParams:
        """Check the keywords of `Sampling`, `chat_template_kwargs` apart; raises ConfigurationError."""
        fields = {name: value for name, value in sampling.items() if name != "chat_template_kwargs"}
        stop = fields.pop("stop", None) or ()
        try:
            fields["stop"] = (stop,) if isinstance(stop, str) else tuple(stop)
            checked = msgspec.convert(fields, type=dict[str, Any])
            unknown = checked.keys() - set(cls.__struct_fields__)
            if unknown:
                raise ConfigurationError(
                    f"Expected one of {', '.join(Sampling.__annotations__)}, got `{min(unknown)}`."
                )
            return msgspec.convert(checked, type=cls)
        except (msgspec.ValidationError, TypeError) as error:
            raise ConfigurationError(f"{error} (sampling)") from None


def _within(name: str, value: float | None, low: float, high: float = float("inf")) -> None:
    if value is not None and not low <= value <= high:
        bound = f"at least {low}" if high == float("inf") else f"a value from {low} to {high}"
        raise ConfigurationError(f"Expected {bound}, got {value} - at `{name}`.")
