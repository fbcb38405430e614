"""flowdecode: the strategy `plato`, through the whole runtime."""

from __future__ import annotations

import asyncio

import flowdecode
from flowdecode.backend import Backend
from flowdecode_graphs.plato import Plato
from tests.benchmarks.forced_engines import Planned
from tests.benchmarks.forced_plan import ForcedPlan
from tests.benchmarks.methods.measured import Measured

__all__ = ["measure"]


async def measure(
    backend: Backend, plan: ForcedPlan, system: str | None, strategy: Plato | None = None
) -> Measured:
    """One run; its parts' lengths are checked."""
    strategy = strategy or Plato()
    planned = Planned(backend, plan, strategy.prompts)
    async with flowdecode.connect(planned) as flow:
        clock = asyncio.get_running_loop().time
        start = clock()
        result = await flow.run(
            plan.question, system=system, strategy=strategy, on_error="raise", temperature=0.0
        )
        seconds = clock() - start
    parts = [record for record in result.nodes if record.id.isdigit()]
    assert [record.usage.completion_tokens for record in parts] == plan.lengths, parts
    first = parts[0]
    assert first.first_token_at is not None
    assert first.finished_at is not None
    return Measured(
        seconds,
        planned.sent,
        result.usage.prompt_tokens,
        result.usage.cached_tokens,
        result.usage.completion_tokens,
        first.first_token_at,
        first.finished_at,
        prefilled=result.usage.prompt_tokens - result.usage.cached_tokens,
    )
