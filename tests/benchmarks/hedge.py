"""What `auto` costs where there is nothing to gain: delay of the first text, and wasted tokens.

In virtual time, on the simulated engine with its standard costs.
"""

from __future__ import annotations

import asyncio
import re
from collections.abc import Sequence

import flowdecode
from flowdecode.backend import Request
from flowdecode.strategy import Strategy
from flowdecode_backends.simulated import Simulated, simulate
from flowdecode_graphs.auto import Auto
from flowdecode_graphs.sequential import Sequential
from tests.benchmarks.measure import table

__all__ = ["main"]

WORDS = "Tea is mild, and coffee is strong. " * 40
ANSWER_WORDS = 200
PLANS = {
    "direct": "direct\n",
    "a chain": "1. Choice (60)\n2. Days (90) <- 1\n3. Cost (60) <- 2\n",
    "malformed": "That depends on what you like. " * 4,
    "parts that overlap": "1. Tea (60)\n2. Coffee (60)\n3. Verdict (40) <- 1, 2\n",
}
STRATEGIES: dict[str, Strategy] = {"auto": Auto(), "auto, no hedge": Auto(hedge=False)}


async def first_text(strategy: Strategy, plan: str) -> tuple[float, float, int]:
    """Virtual seconds to the first text and to the end, and wasted tokens."""

    def reply(request: Request) -> str:
        if request.grammar is not None:
            return plan
        hint = re.search(r"in about (\d+) words", request.context.block.text)
        return " ".join(WORDS.split()[: int(hint[1]) if hint else ANSWER_WORDS])

    first = None
    engine = Simulated(replies=reply)
    async with (
        flowdecode.connect(engine) as flow,
        flow.stream("Tea or coffee?", strategy=strategy) as run,
    ):
        async for _ in run.text:
            if first is None:
                first = asyncio.get_running_loop().time()
        result = await run.result()
    assert first is not None
    return first, result.duration, result.usage.wasted_tokens


async def main(*, quick: bool) -> str:
    """The table; virtual time has no spread."""
    return await asyncio.to_thread(_table)


def _table() -> str:
    rows: list[Sequence[object]] = []
    for name, plan in PLANS.items():
        plain, plain_end, _ = simulate(first_text(Sequential(), plan))
        for strategy, settings in STRATEGIES.items():
            first, end, wasted = simulate(first_text(settings, plan))
            row = [
                f"{name}, {strategy}",
                f"{(first - plain) * 1000:+,.0f}",
                f"{(end - plain_end) * 1000:+,.0f}",
                wasted,
            ]
            rows.append(row)
    return table(["planner says, strategy", "first text, ms", "last text, ms", "wasted tokens"], rows)
