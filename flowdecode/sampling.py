"""How tokens are drawn: what users write (`Sampling`) and what engines get (`SamplingParams`)."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, TypedDict

import msgspec

from flowdecode.errors import ConfigurationError

__all__ = ["Sampling", "SamplingParams"]


class Sampling(TypedDict, total=False):
    """The sampling keywords of `run` and `stream`, and what `Graph.decode` takes as `sampling`.

    None is the model's default. What an engine can't honour it refuses (RequestRejected): nothing is
    left out silently.
    """

    max_tokens: int | None
    temperature: float | None
    top_p: float | None
    top_k: int | None
    min_p: float | None
    repetition_penalty: float | None
    logit_bias: Mapping[int, float] | None
    stop: str | Sequence[str] | None
    stop_token_ids: Sequence[int] | None
    seed: int | None
    chat_template_kwargs: Mapping[str, Any] | None


class SamplingParams(msgspec.Struct, frozen=True, kw_only=True):
    """Checked sampling parameters; None is the engine's or the model's default, temperature 0 is greedy.

    A backend refuses a request (RequestRejected) of which its engine can't honour a parameter.
    """

    max_tokens: int | None = None
    temperature: float | None = None
    top_p: float | None = None
    top_k: int | None = None
    min_p: float | None = None
    repetition_penalty: float | None = None
    """Above 1 the tokens of the prompt and of the answer so far become less likely, below 1 more likely."""
    logit_bias: Mapping[int, float] = {}
    """What is added to the logits of token ids, from -100, which bans, to 100, which all but forces."""
    stop: tuple[str, ...] = ()
    """Strings that end the answer, and are no part of it; of several the first one that is complete."""
    stop_token_ids: tuple[int, ...] = ()
    """Ids that end the answer beside the model's own, and are no part of its text."""
    seed: int | None = None

    def __post_init__(self) -> None:
        _within("max_tokens", self.max_tokens, 1)
        _within("temperature", self.temperature, 0)
        _within("top_p", self.top_p, 0, 1)
        _within("top_k", self.top_k, 1)
        _within("min_p", self.min_p, 0, 1)
        _within("seed", self.seed, 0)
        if self.repetition_penalty is not None and not 0 < self.repetition_penalty < float("inf"):
            raise ConfigurationError(
                f"Expected a value above 0, got {self.repetition_penalty} - at `repetition_penalty`."
            )
        for token, bias in self.logit_bias.items():
            _within("logit_bias", token, 0)
            _within("logit_bias", bias, -100, 100)
        for token in self.stop_token_ids:
            _within("stop_token_ids", token, 0)
        if "" in self.stop:
            raise ConfigurationError("Expected stop strings of at least one character, got '' - at `stop`.")

    @classmethod
    def read(cls, sampling: Mapping[str, Any]) -> SamplingParams:
        """Check the keywords of `Sampling`, `chat_template_kwargs` apart; raises ConfigurationError."""
        unknown = sampling.keys() - Sampling.__annotations__.keys()
        if unknown:
            raise ConfigurationError(
                f"Expected one of {', '.join(Sampling.__annotations__)}, got `{min(unknown)}`."
            )
        fields = {name: value for name, value in sampling.items() if value is not None}
        fields.pop("chat_template_kwargs", None)
        stop = fields.pop("stop", None) or ()
        try:
            fields["stop"] = (stop,) if isinstance(stop, str) else tuple(stop)
            return msgspec.convert(fields, type=cls)
        except (msgspec.ValidationError, TypeError) as error:
            raise ConfigurationError(f"{error} (sampling)") from None


def _within(name: str, value: float | None, low: float, high: float = float("inf")) -> None:
    if value is not None and not low <= value <= high:
        bound = f"at least {low}" if high == float("inf") else f"a value from {low} to {high}"
        raise ConfigurationError(f"Expected {bound}, got {value} - at `{name}`.")
