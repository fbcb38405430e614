"""What `auto` costs where there is nothing to gain: delay of the first text, and wasted tokens.

In virtual time, on the simulated engine with its standard costs; then in real time, on a scripted one.
"""

from __future__ import annotations

import asyncio
import re
from collections.abc import Callable, Sequence
from functools import partial

import flowdecode
from flowdecode.backend import Backend, Request
from flowdecode.strategy import Strategy
from flowdecode_backends.scripted import Reply, Scripted
from flowdecode_backends.simulated import Simulated, simulate
from flowdecode_graphs.auto import Auto
from flowdecode_graphs.sequential import Sequential
from tests.benchmarks.measure import Case, interleaved, table

__all__ = ["main"]

WORDS = "Tea is mild, and coffee is strong. " * 40
ANSWER_WORDS = 200
PACE = 0.005
"""Real seconds a token."""
PLANS = {
    "direct": "direct\n",
    "a chain": "1. Choice (60)\n2. Days (90) <- 1\n3. Cost (60) <- 2\n",
    "malformed": "That depends on what you like. " * 4,
    "parts that overlap": "1. Tea (60)\n2. Coffee (60)\n3. Verdict (40) <- 1, 2\n",
}
STRATEGIES: dict[str, Strategy] = {"auto": Auto(), "auto, no hedge": Auto(hedge=False)}


def replies(plan: str) -> Callable[[Request], str]:
    """The plan for the planner; for anyone else as many words as are asked for."""

    def reply(request: Request) -> str:
        if request.grammar is not None:
            return plan
        hint = re.search(r"in about (\d+) words", request.context.block.text)
        return " ".join(WORDS.split()[: int(hint[1]) if hint else ANSWER_WORDS])

    return reply


async def first_text(strategy: Strategy, engine: Backend) -> tuple[float, float, int]:
    """Seconds of the loop's clock to the first text and to the end, and wasted tokens."""
    first, start = None, asyncio.get_running_loop().time()
    async with (
        flowdecode.connect(engine) as flow,
        flow.stream("Tea or coffee?", strategy=strategy) as run,
    ):
        async for _ in run.text:
            if first is None:
                first = asyncio.get_running_loop().time() - start
        result = await run.result()
    assert first is not None
    return first, result.duration, result.usage.wasted_tokens


async def main(*, quick: bool) -> str:
    """The tables; virtual time has no spread."""
    return f"{await asyncio.to_thread(_virtual)}\n\n{await _real(rounds=1 if quick else 5)}"


async def _real(rounds: int) -> str:
    """First text in real time, where there is nothing to gain."""
    rows: list[Sequence[object]] = []
    for name, plan in list(PLANS.items())[:-1]:

        async def milliseconds(strategy: Strategy, plan: str = plan) -> float:
            choose = replies(plan)
            engine = Scripted(lambda request: Reply(choose(request), delay=PACE, pace=PACE))
            return (await first_text(strategy, engine))[0] * 1000

        cases: dict[str, Case] = {"sequential": partial(milliseconds, Sequential())}
        cases |= {strategy: partial(milliseconds, settings) for strategy, settings in STRATEGIES.items()}
        rows.append([name, *(await interleaved(cases, rounds=rounds)).values()])
    title = f"planner says ({PACE * 1000:g} ms a token)"
    return table([title, "`sequential`, ms", *(f"{name}, ms" for name in STRATEGIES)], rows)


def _virtual() -> str:
    rows: list[Sequence[object]] = []
    for name, plan in PLANS.items():
        plain, plain_end, _ = simulate(first_text(Sequential(), Simulated(replies=replies(plan))))
        for strategy, settings in STRATEGIES.items():
            first, end, wasted = simulate(first_text(settings, Simulated(replies=replies(plan))))
            row = [
                f"{name}, {strategy}",
                f"{(first - plain) * 1000:+,.0f}",
                f"{(end - plain_end) * 1000:+,.0f}",
                wasted,
            ]
            rows.append(row)
    return table(["planner says, strategy", "first text, ms", "last text, ms", "wasted tokens"], rows)
