"""What must not reach a server: it would refuse it late, in words of its own, or die of it."""

from __future__ import annotations

import math
from collections.abc import Sequence

from flowdecode.backend import Request
from flowdecode.errors import ContextTooLong, RequestRejected
from flowdecode.sampling import SamplingParams

__all__ = ["check_prompt", "check_sampling"]

MOST_STOP_STRINGS = 32
MOST_PENALTY = 2.0
_SIGNED_64 = 1 << 63


def check_prompt(
    request: Request,
    prompt: Sequence[int],
    *,
    vocabulary: int | None,
    context_length: int | None,
    longest_prompt: int | None = None,
) -> None:
    """Refuse a prompt that the model can't decode from. Raises RequestRejected or ContextTooLong.

    A token id outside of the vocabulary ends an SGLang server, and so does a prompt of no tokens.
    """
    said = any(prefix.block.tokens or prefix.block.text for prefix in request.context.prefixes())
    if not prompt or not said:
        raise RequestRejected(
            f"Expected a prompt of at least one token, got none - at request {request.id!r}."
        )
    if min(prompt) < 0 or (vocabulary is not None and max(prompt) >= vocabulary):
        bad = min(prompt) if min(prompt) < 0 else max(prompt)
        known = "from 0 on" if vocabulary is None else f"from 0 to {vocabulary - 1:,}"
        raise RequestRejected(
            f"Expected token ids {known}, got {bad:,} - at request {request.id!r}. "
            "Were they decoded by another model?"
        )
    if longest_prompt is not None and len(prompt) > longest_prompt:
        raise ContextTooLong(tokens=len(prompt), limit=longest_prompt)
    most = request.sampling.max_tokens
    if context_length is not None and len(prompt) + (most or 1) > context_length:
        what = "the prompt and one token" if most is None else "the prompt and `max_tokens`"
        raise ContextTooLong(tokens=len(prompt) + (most or 1), limit=context_length, what=what)


def check_sampling(
    sampling: SamplingParams, *, vocabulary: int | None, seeds: bool, gateway: bool = False
) -> None:
    """Refuse values that SGLang has no meaning for, though other engines may. Raises RequestRejected.

    `seeds`: whether the server draws by them; `gateway`: whether one stands before it.
    """
    temperature, top_p, seed = sampling.temperature, sampling.top_p, sampling.seed
    penalty = sampling.repetition_penalty
    if temperature is not None and not math.isfinite(temperature):
        raise RequestRejected(f"Expected a finite number, got {temperature} - at `temperature`.")
    if top_p is not None and top_p <= 0:
        raise RequestRejected(
            f"Expected more than 0, got {top_p} - at `top_p`. Use `temperature=0` for greedy decoding."
        )
    if penalty is not None and penalty > MOST_PENALTY:
        raise RequestRejected(f"Expected at most {MOST_PENALTY}, got {penalty} - at `repetition_penalty`.")
    if seed is not None and seed >= _SIGNED_64:
        raise RequestRejected(f"Expected a seed below 2**63, got {seed} - at `seed`.")
    if seed is not None and temperature != 0 and not seeds:
        raise RequestRejected(
            f"Expected no seed, got {seed}: this SGLang server ignores it. "
            "Start it with --enable-deterministic-inference, or use `temperature=0` - at `seed`."
        )
    if sampling.logit_bias and gateway:
        raise RequestRejected(
            "Expected no logit bias: the SGLang gateway leaves it out of what it hands on (0.3.2 does). "
            "Go to a server itself, or to the gateway by `openai://` - at `logit_bias`."
        )
    for name, ids in (("logit_bias", sampling.logit_bias), ("stop_token_ids", sampling.stop_token_ids)):
        if vocabulary is not None and max(ids, default=0) >= vocabulary:
            raise RequestRejected(
                f"Expected token ids from 0 to {vocabulary - 1:,}, got {max(ids):,} - at `{name}`."
            )
    if len(sampling.stop) > MOST_STOP_STRINGS:
        raise RequestRejected(
            f"Expected at most {MOST_STOP_STRINGS} stop strings, got {len(sampling.stop)} - at `stop`."
        )
