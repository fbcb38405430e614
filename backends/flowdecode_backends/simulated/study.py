"""What load does: users who ask one question after the other, in virtual time."""

from __future__ import annotations

import asyncio
import math
import random

import msgspec

import flowdecode
from flowdecode.strategy import Strategy
from flowdecode_backends.simulated.backend import Simulated
from flowdecode_backends.simulated.clock import simulate
from flowdecode_backends.simulated.generated import DEFAULT_MEDIAN_TOKENS

__all__ = ["Point", "study"]

JOIN = 0.05
"""Seconds from one user to the next at the beginning: an engine has known quieter times."""
COUNTED = 3
"""Answers that each user counts, behind a first one: those that are begun when all are there."""
LEAST = 48
"""Answers that are counted in all: where there are few users, each asks more questions."""
WORDS_PER_TOKEN = 0.75
SPREAD = 0.6
"""Of the lognormal distribution of lengths."""
WORDS = (30, 1000)
"""The shortest and the longest answer that is asked for."""


class Point(msgspec.Struct, frozen=True, kw_only=True):
    """Users of one strategy, and what they got."""

    strategy: str
    users: int
    """Runs under way at once, for each engine."""
    engines: int
    width: int | None
    answers: int
    seconds: float
    """Of a run, from the question to the whole answer; a geometric mean."""
    tokens_per_second: float
    """Tokens of answers, over all engines; plans, and what was given up, don't count."""
    parallel: float
    """The share of answers that were decoded in parts."""


def study(
    backend: Simulated,
    strategy: str | Strategy,
    *,
    users: int,
    width: int | None = None,
    seed: int = 0,
) -> Point:
    """Let so many users for each engine ask, each the next question when the last one is answered.

    Nobody stops before all have what they count, so that the load stays what it is.
    """
    return simulate(_study(backend, strategy, users=users, width=width, seed=seed))


async def _study(
    backend: Simulated, strategy: str | Strategy, *, users: int, width: int | None, seed: int
) -> Point:
    people = users * len(backend.engines)
    counted = max(COUNTED, math.ceil(LEAST / people))
    joined, left = 0, people
    results: list[flowdecode.Result] = []

    async def ask(number: int) -> None:
        nonlocal joined, left
        await asyncio.sleep(number * JOIN)
        joined += 1
        asked = done = 0
        while left:
            counts = asked > 0 and joined == people and done < counted
            # All strategies count the same questions, however many they are asked before and behind.
            prompt = _question(f"{seed} {number} {done}" if counts else f"{seed} {number} beside {asked}")
            result = await flow.run(prompt, strategy=strategy, width=width, on_error="raise")
            asked += 1
            if counts:
                results.append(result)
                done += 1
                left -= done == counted

    async with flowdecode.connect(backend) as flow:
        await asyncio.gather(*map(ask, range(people)))
    seconds = [result.duration for result in results]
    tokens = sum(
        node.usage.useful_tokens for result in results for node in result.nodes if node.kind == "decode"
    )
    return Point(
        strategy=strategy if isinstance(strategy, str) else strategy.name,
        users=users,
        engines=len(backend.engines),
        width=width,
        answers=len(results),
        seconds=math.exp(sum(map(math.log, seconds)) / len(seconds)),
        tokens_per_second=people * tokens / sum(seconds),
        parallel=sum(result.strategy != "sequential" for result in results) / len(results),
    )


def _question(name: str) -> str:
    """A question whose answer has a length of its own."""
    words = DEFAULT_MEDIAN_TOKENS * WORDS_PER_TOKEN * random.Random(name).lognormvariate(0, SPREAD)
    low, high = WORDS
    return f"Question {name}: tell me all about it, in about {min(max(round(words), low), high)} words."
