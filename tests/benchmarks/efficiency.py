"""Critical-path efficiency: the time of the longest chain, as a share of the time that a schedule took."""

from __future__ import annotations

import asyncio
import random
import statistics
import time
from collections.abc import Sequence
from functools import partial

from flowdecode_backends.simulated import simulate
from tests.benchmarks.measure import Case, interleaved, table
from tests.benchmarks.schedules import PLAN, SCHEDULES, Part, engine, random_plan, span

__all__ = ["main"]

PACE = 0.02
"""Seconds a token."""
RANDOM_PLANS = 60


async def schedule(name: str, plan: Sequence[Part]) -> float:
    """Span time over wall time."""
    start = time.perf_counter()
    await SCHEDULES[name](engine(PACE), PACE, plan)
    return span(plan) * PACE / (time.perf_counter() - start)


def in_virtual_time(name: str, plan: Sequence[Part]) -> float:
    """The same where waiting is all that takes time."""

    async def run() -> float:
        await SCHEDULES[name](engine(PACE), PACE, plan)
        return asyncio.get_running_loop().time()

    return span(plan) * PACE / simulate(run())


def random_plans(name: str) -> list[object]:
    """The median and the worst of many plans."""
    chance = random.Random(0)
    found = [in_virtual_time(name, random_plan(chance)) for _ in range(RANDOM_PLANS)]
    return [f"{statistics.median(found):.3f}", f"{min(found):.3f}"]


async def main(*, quick: bool) -> str:
    """The table."""
    cases: dict[str, Case] = {name: partial(schedule, name, PLAN) for name in SCHEDULES}
    took = await interleaved(cases, rounds=1 if quick else 5)
    rows: list[list[object]] = []
    for name, sample in took.items():
        simulated = await asyncio.to_thread(random_plans, name)
        rows.append([name, f"{sample.median:.3f} ({sample.low:.3f} to {sample.high:.3f})", *simulated])
    work = sum(part.tokens for part in PLAN)
    title = f"{len(PLAN)} nodes of {work} tokens, span {span(PLAN)} tokens at {PACE * 1000:g} ms"
    others = f"{RANDOM_PLANS} random plans in virtual time"
    return table([title, "span / wall", f"{others}, median", "worst"], rows)
