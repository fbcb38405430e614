"""Growing load on a real SGLang server, beside its simulation: what parts gain, and what auto does."""

from __future__ import annotations

import asyncio
import math
from collections.abc import Sequence

import flowdecode
from flowdecode.backend import Backend
from flowdecode.result import Result
from flowdecode_backends.simulated import Profile, simulate
from tests.benchmarks.early_prefill import flush
from tests.benchmarks.forced_plan import LATE, TEA
from tests.benchmarks.measure import table
from tests.benchmarks.replayed import Asked, Recorded, Recording, Replaying

__all__ = ["compared"]

USERS = (1, 2, 4, 8, 16)
STRATEGIES = ("sequential", "plato", "auto")
LEAST = 6
"""Answers that are counted in all."""


def questions(users: int, strategy: str) -> list[list[Asked]]:
    """What each user asks, one after the other; the first answer does not count."""
    plans = (TEA, LATE)
    each = 1 + max(2, math.ceil(LEAST / users))
    return [
        [
            Asked(f"Question {user:02}-{turn}: what is there to say?", plans[(user + turn) % 2], strategy)
            for turn in range(each)
        ]
        for user in range(users)
    ]


async def asked_in_turn(backend: Backend, people: Sequence[Sequence[Asked]]) -> list[Result]:
    """All users at once, each the next question when the last one is answered."""
    found: list[Result] = []

    async def ask(own: Sequence[Asked]) -> None:
        for turn, each in enumerate(own):
            result = await flow.run(each.question, strategy=each.strategy, on_error="raise")
            if turn:
                found.append(result)

    async with flowdecode.connect(backend) as flow:
        await asyncio.gather(*map(ask, people))
    return found


def seconds(results: Sequence[Result]) -> float:
    """Of a run; a geometric mean."""
    return math.exp(sum(math.log(result.duration) for result in results) / len(results))


def in_parts(results: Sequence[Result]) -> float:
    """The share that was."""
    return sum(result.strategy == "plato" for result in results) / len(results)


async def compared(url: str, profile: Profile, *, users: Sequence[int] = USERS) -> str:
    """The table of one server."""
    rows: list[list[object]] = []
    for number in users:
        recorded: Recorded = {}
        real: dict[str, list[Result]] = {}
        simulated: dict[str, list[Result]] = {}
        everything = [each for own in questions(number, "plato") for each in own]
        server = Recording(url, everything, recorded)
        for strategy in STRATEGIES:
            await flush(url)
            real[strategy] = await asked_in_turn(server, questions(number, strategy))
        for strategy in STRATEGIES:
            engine = Replaying(profile, server, recorded)
            people = questions(number, strategy)
            simulated[strategy] = await asyncio.to_thread(simulate, asked_in_turn(engine, people))
        row: list[object] = [number]
        for results in (real, simulated):
            plain = seconds(results["sequential"])
            row += [f"{plain:.2f}", f"{plain / seconds(results['plato']):.2f}"]
            row += [f"{plain / seconds(results['auto']):.2f}", f"{in_parts(results['auto']):.0%}"]
        rows.append(row)
    names = ["sequential, s", "plato", "auto", "in parts"]
    columns = ["users", *(f"server: {name}" for name in names), *(f"simulated: {name}" for name in names)]
    return table(columns, rows)
