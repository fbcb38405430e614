"""What is asked of an engine to find out its costs, by its clock or by a simulation's."""

from __future__ import annotations

import asyncio
import random
from collections.abc import Callable
from typing import NamedTuple

from flowdecode.backend import Backend, Request
from flowdecode.context import Block, Context
from flowdecode.errors import ConfigurationError
from flowdecode.sampling import SamplingParams
from flowdecode.usage import Usage

__all__ = ["Asked", "Decoded", "Probes", "Stalled"]

_WORDS = "tea river seven lamp green stone yes window paper nine and of the morning four"
DECODED = 64
"""Tokens that every stream of a batch decodes, and a lone one four times as many."""


def decoded(batch: int) -> int:
    """Tokens of each stream of a batch: short ones may miss each other."""
    return DECODED + 3 * DECODED // batch


class Decoded(NamedTuple):
    """Steps of a batch that did nothing else."""

    seconds: float
    """Of one step."""
    batch: int
    kv_tokens: float
    """That the batch attended to in one of them, in the mean."""


class Asked(NamedTuple):
    """A prompt that an idle engine was given."""

    seconds: float
    """To its first token."""
    new: int
    cached: int


class Stalled(NamedTuple):
    """What a prompt took from a stream beside it."""

    seconds: float
    new: float


class _Read(NamedTuple):
    sent: float
    arrivals: list[tuple[float, int]]
    """When, and how many tokens by then."""
    usage: Usage

    def by(self, time: float) -> int:
        """Tokens that had come."""
        return max((tokens for at, tokens in self.arrivals if at <= time), default=0)


class Probes:
    """Asks an engine, which must be entered and have nothing else to do."""

    def __init__(self, backend: Backend, *, seed: int = 0) -> None:
        self._backend = backend
        self._chance = random.Random(seed)
        self._requests = 0

    async def decode(self, batch: int, prompt_tokens: int) -> Decoded:
        """A batch of streams behind one prompt of about that length, which is in the cache."""
        prompt = self.prompt(prompt_tokens)
        tokens = decoded(batch)
        await self._read(prompt, 1)
        reads = await asyncio.gather(*(self._read(prompt, tokens) for _ in range(batch)))
        start = max(read.arrivals[0][0] for read in reads)
        end = min(read.arrivals[-1][0] for read in reads)
        steps = sum(read.by(end) - read.by(start) for read in reads) / batch
        if steps < DECODED / 4:
            raise ConfigurationError(
                f"Expected {batch} streams of {tokens} tokens side by side, of which at least "
                f"{DECODED // 4} steps are common to all, got {steps:.0f}. Is the engine idle otherwise?"
            )
        kv_tokens = sum(read.usage.prompt_tokens + (read.by(start) + read.by(end) - 1) / 2 for read in reads)
        return Decoded((end - start) / steps, batch, kv_tokens)

    async def ask(self, new: int, cached: int) -> Asked:
        """A prompt of about `new` tokens that no request had before, behind about `cached` that one had."""
        known = self.prompt(cached) if cached else None
        if known is not None:
            await self._read(known, 1)
        read = await self._read(self.prompt(new, known), 1)
        usage = read.usage
        if cached and not usage.cached_tokens:
            raise ConfigurationError(
                "Expected an engine with a prefix cache that tells what it finds there, got none. "
                "Start SGLang with --enable-cache-report, and without --disable-radix-cache."
            )
        seconds = read.arrivals[0][0] - read.sent
        return Asked(seconds, usage.prompt_tokens - usage.cached_tokens, usage.cached_tokens)

    async def stall(self, prompts: int, new: int) -> Stalled:
        """Prompts of about `new` tokens, one behind the other, beside a stream, whose steps are taken off."""
        begun, came = asyncio.Event(), 0
        found: list[_Read] = []

        def watch(tokens: int) -> None:
            nonlocal came
            came = tokens
            if tokens >= DECODED:
                begun.set()

        async def disturb() -> None:
            await begun.wait()
            while not found or (len(found) < prompts and came < 3 * DECODED):
                found.append(await self._read(self.prompt(new), 1))

        reading = self._read(self.prompt(DECODED), 4 * DECODED, watch)
        stream, _ = await asyncio.gather(reading, disturb())
        before = [arrival for arrival in stream.arrivals if arrival[0] <= found[0].sent]
        behind = [arrival for arrival in stream.arrivals if arrival[0] >= found[-1].arrivals[0][0]]
        if len(behind) < 2:
            raise ConfigurationError(
                f"Expected a stream of {4 * DECODED} tokens to outlast {len(found)} prompts beside it. "
                "Is the engine idle otherwise?"
            )
        calm = _span(before), _span(behind)  # contexts grow: what is between has the mean of both
        step = sum(seconds / tokens for seconds, tokens in calm) / len(calm)
        seconds, tokens = _span([before[-1], behind[0]])
        fresh = sum(read.usage.prompt_tokens - read.usage.cached_tokens for read in found)
        return Stalled((seconds - tokens * step) / len(found), fresh / len(found))

    def prompt(self, tokens: int, behind: Context | None = None) -> Context:
        """A prompt of at least so many tokens that is like no other from its first words on."""
        text = f" {self._chance.randrange(10**9)}"
        while True:
            block = Block("user", text)
            context = Context.of([block]) if behind is None else behind.extend(block)
            count = self._backend.count_tokens(context)
            count -= self._backend.count_tokens(behind) if behind else 0
            if count >= tokens:
                return context
            words = self._chance.choices(_WORDS.split(), k=max(1, (tokens - count) // 8))
            text += "".join(f" {word}" for word in words)

    async def _read(
        self, context: Context, tokens: int, watch: Callable[[int], None] = lambda _: None
    ) -> _Read:
        """Decode so many tokens; `watch` is told how many have come."""
        self._requests += 1
        request = Request(
            id=f"probe-{self._chance.randrange(10**9):09}-{self._requests:06}",
            run_id="probe",
            context=context,
            sampling=SamplingParams(max_tokens=tokens, temperature=0.0),
        )
        arrivals: list[tuple[float, int]] = []
        loop = asyncio.get_running_loop()
        sent = loop.time()
        async with self._backend.decode(request) as decoding:
            async for _ in decoding:
                arrivals.append((loop.time(), decoding.usage.completion_tokens))
                watch(arrivals[-1][1])
        usage = decoding.usage
        if usage.completion_tokens != tokens:
            raise ConfigurationError(
                f"Expected {tokens} tokens of every answer, got {usage.completion_tokens}: "
                "the engine has to go on behind a model's own end."
            )
        return _Read(sent, arrivals, usage)


def _span(arrivals: list[tuple[float, int]]) -> tuple[float, int]:
    """Seconds and tokens from the first to the last."""
    return arrivals[-1][0] - arrivals[0][0], arrivals[-1][1] - arrivals[0][1]
