"""Plain decoding: one request of as many tokens as all parts have."""

from __future__ import annotations

from flowdecode.context import Block
from tests.benchmarks.forced_plan import ForcedPlan
from tests.benchmarks.methods.client import Client, Written

__all__ = ["answer"]


async def answer(client: Client, plan: ForcedPlan) -> dict[int, Written]:
    """All parts in turn, each where its tokens begin."""
    context = client.context(Block("user", plan.question))
    block, times = await client.decode(context, tokens=sum(plan.lengths))
    parts: dict[int, Written] = {}
    for number, part in plan.parts.items():
        parts[number], times = Written(block, times[: part.tokens]), times[part.tokens :]
    return parts
