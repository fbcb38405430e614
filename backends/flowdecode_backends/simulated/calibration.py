"""A running engine, measured: its profile, from which the simulated one takes its times."""

from __future__ import annotations

import statistics
from collections.abc import Awaitable, Callable, Mapping, Sequence
from functools import partial
from typing import Any, NamedTuple

import msgspec

from flowdecode.backend import Request
from flowdecode.errors import ConfigurationError
from flowdecode.plugins import BackendURL
from flowdecode_backends.sglang_client import SGLang, open_sglang
from flowdecode_backends.simulated.backend import Simulated, open_simulated
from flowdecode_backends.simulated.cost import CostModel
from flowdecode_backends.simulated.fit import Observation, errors, fitted
from flowdecode_backends.simulated.probes import DECODED, Asked, Decoded, Probes, Stalled, decoded
from flowdecode_backends.simulated.profile import Fit, Profile

__all__ = ["calibrate", "open_engine", "probes_of"]

ROUNDS = 5
BATCHES = (1, 2, 4, 8, 16, 32)
CONTEXTS = (32, 384, 960)
"""Tokens of the prompts that batches decode behind; those that the engine can't take are left out."""
NEW = (16, 64, 192, 512)
CACHED = (0, 384)
BESIDE = (16, 128)
"""Tokens of the prompts that are sent beside a stream."""
PROMPTS = 12
"""So many of them."""
SPARE = 64
"""Tokens that prompts may be longer than asked for, with the template around them."""


class Endless(SGLang):
    """An SGLang server whose answers go on to their `max_tokens`."""

    def sampling(self, request: Request, prompt_tokens: int) -> dict[str, Any]:
        params = super().sampling(request, prompt_tokens)
        params.pop("stop_token_ids", None)
        return {**params, "ignore_eos": True}


def open_engine(
    url: str, *, api_key: str | None = None, headers: Mapping[str, str] | None = None
) -> SGLang | Simulated:
    """The engine at a URL, to be measured. Raises ConfigurationError for one that can't be."""
    parsed = BackendURL.parse(url)
    if parsed.scheme == "simulated":
        return open_simulated(parsed, api_key=api_key, headers=headers or {})
    if not parsed.scheme.startswith("sglang") or not parsed.has_host:
        raise ConfigurationError(f"Expected an SGLang server, as in 'sglang://127.0.0.1:30000', got {url!r}.")
    cold = msgspec.structs.replace(parsed, query={**parsed.query, "warm": "0"})
    return open_sglang(cold, api_key=api_key, headers=headers or {}, kind=Endless)


async def calibrate(
    engine: SGLang | Simulated,
    *,
    machine: str = "",
    rounds: int = ROUNDS,
    done: Callable[[], object] = lambda: None,
) -> Profile:
    """Measure an engine that is entered and has nothing else to do: minutes, where it is slow.

    Every probe is made once to warm up, and then in each round; medians count. `done` is called behind each
    of them. Raises ConfigurationError where a probe makes no sense.
    """
    sizes = _Sizes.of(engine)
    probes = Probes(engine)
    kept: dict[object, list[Decoded | Asked | Stalled]] = {}
    for counted in [False] + [True] * rounds:
        for cell, probe in _cells(probes, sizes).items():
            found = await probe()
            if counted:
                kept.setdefault(cell, []).append(found)
            done()
    medians = [sorted(found)[len(found) // 2] for found in kept.values()]
    cost, fits = _fitted(medians, mixed=sizes.mixed)
    return Profile(machine=machine, cost=cost, fits=fits, **sizes._asdict())


def probes_of(engine: SGLang | Simulated, *, rounds: int = ROUNDS) -> int:
    """How many probes `calibrate` makes."""
    return (rounds + 1) * len(_cells(Probes(engine), _Sizes.of(engine)))


class _Sizes(NamedTuple):
    """What an engine says of itself."""

    slots: int
    kv_tokens: int
    prefill_chunk: int
    context_length: int
    mixed: bool

    @classmethod
    def of(cls, engine: SGLang | Simulated) -> _Sizes:
        """Raises ConfigurationError where it does not tell."""
        told: dict[str, int | None] = {
            "slots": engine.engine.slots,
            "context_length": engine.engine.context_length,
        }
        if isinstance(engine, Simulated):
            own = engine.engines[0].settings
            told |= {"slots": own.slots, "kv_tokens": own.kv_tokens, "prefill_chunk": own.prefill_chunk}
            mixed = own.mixed
        else:
            info = engine.info
            chunk = info.chunked_prefill_size
            if chunk is not None and chunk < 1:  # told not to cut prompts
                chunk = info.max_total_num_tokens
            told |= {"kv_tokens": info.max_total_num_tokens, "prefill_chunk": chunk}
            mixed = info.enable_mixed_chunk
        known = {name: value for name, value in told.items() if value is not None}
        if missing := told.keys() - known.keys():
            raise ConfigurationError(
                f"Expected a server that tells its {' and '.join(sorted(missing))}, got none. "
                "Measure the server itself, not a gateway before it."
            )
        return cls(**known, mixed=mixed)


def _cells(probes: Probes, sizes: _Sizes) -> dict[object, Callable[[], Awaitable[Decoded | Asked | Stalled]]]:
    """The probes that fit the engine, each with a key of its own."""
    room = min(sizes.context_length, sizes.kv_tokens) - SPARE
    cells: dict[object, Callable[[], Awaitable[Decoded | Asked | Stalled]]] = {}
    for batch in BATCHES:
        for context in CONTEXTS:
            if (
                batch <= sizes.slots
                and context + decoded(batch) <= room
                and context + batch * decoded(batch) < sizes.kv_tokens
            ):
                cells["decode", batch, context] = partial(probes.decode, batch, context)
    for new in NEW:
        for cached in CACHED:
            if new + cached <= room:
                cells["ask", new, cached] = partial(probes.ask, new, cached)
    for new in BESIDE:
        if sizes.slots > 1 and 4 * DECODED + new <= room:
            cells["stall", new] = partial(probes.stall, PROMPTS, new)
    if ("decode", 1, CONTEXTS[0]) not in cells:
        raise ConfigurationError(
            f"Expected an engine with room for {CONTEXTS[0] + decoded(1)} tokens and a few, it has {room}."
        )
    return cells


def _fitted(found: Sequence[Decoded | Asked | Stalled], *, mixed: bool) -> tuple[CostModel, dict[str, Fit]]:
    """The costs, and how well they describe what was found."""
    decoded = [
        Observation(each.seconds, (1, each.batch, each.kv_tokens))
        for each in found
        if isinstance(each, Decoded)
    ]
    step, per_request, per_kv_token = fitted(decoded)
    prefilled: list[Observation] = []
    for each in found:
        if isinstance(each, Decoded):
            continue
        cached = each.cached if isinstance(each, Asked) else 0
        seconds = each.seconds
        if mixed:  # the step gave the request its first token, too
            seconds -= per_request + per_kv_token * (each.new + cached)
            seconds -= step * isinstance(each, Asked)
        if seconds > 0:
            pairs = each.new * cached + each.new * (each.new + 1) / 2
            prefilled.append(Observation(seconds, (isinstance(each, Asked), 1, each.new, pairs)))
    request, prefill, per_prefill_token, per_prefill_pair = fitted(prefilled)
    found_costs = {
        "step": step,
        "per_request": per_request,
        "per_kv_token": per_kv_token,
        "prefill": prefill,
        "per_prefill_token": per_prefill_token,
        "per_prefill_pair": per_prefill_pair,
        "request": request,
    }
    cost = CostModel(**{name: float(f"{seconds:.4g}") for name, seconds in found_costs.items()})
    fits = {
        "steps": _fit(decoded, (step, per_request, per_kv_token)),
        "prompts": _fit(prefilled, (request, prefill, per_prefill_token, per_prefill_pair)),
    }
    return cost, fits


def _fit(observations: Sequence[Observation], costs: Sequence[float]) -> Fit:
    sizes = [abs(error) for error in errors(observations, costs)]
    return Fit(
        measured=len(sizes),
        median_error=round(statistics.median(sizes), 4),
        largest_error=round(max(sizes), 4),
    )
