"""Early prefill on a real SGLang server: a plan that it is made for, with and without it."""

from __future__ import annotations

import asyncio
import statistics

import aiohttp

import flowdecode
from flowdecode.result import NodeRecord
from flowdecode_graphs.plato import Plato
from tests.benchmarks.forced_engines import EndlessSGLang, Planned
from tests.benchmarks.forced_plan import LATE
from tests.benchmarks.measure import table

__all__ = ["compared", "flush", "prefilled"]

LAST = str(max(LATE.parts))


async def flush(url: str) -> None:
    """Empty the server's prefix cache."""
    async with aiohttp.ClientSession() as session, session.post(url + "/flush_cache?timeout=20") as response:
        assert response.status == 200, await response.text()


async def prefilled(url: str) -> int:
    """Tokens that the server has computed for prompts since its start."""
    async with aiohttp.ClientSession() as session, session.get(url + "/v1/loads") as response:
        return int((await response.json())["loads"][0]["total_prefill_uncached_tokens"])


async def run(url: str, plato: Plato) -> tuple[NodeRecord, float, int, int]:
    """The last part's record, the run's seconds, its wasted tokens, and what the server has prefilled."""
    await flush(url)
    before = await prefilled(url)
    async with EndlessSGLang(url) as backend:
        planned = Planned(backend, LATE)
        result = await flowdecode.run(
            LATE.question, backend=planned, strategy=plato, on_error="raise", temperature=0.0
        )
    await asyncio.sleep(0.5)  # the server tells its counts now and then
    (last,) = [record for record in result.nodes if record.id == LAST]
    return last, result.duration, result.usage.wasted_tokens, await prefilled(url) - before


async def compared(url: str, *, rounds: int) -> str:
    """The last part's prompt, and the time from its being ready to its first token."""
    ways = {
        f"{plato.layout}{', early prefill' if plato.early_prefill else ''}": plato
        for plato in (
            Plato(layout=layout, early_prefill=n) for layout in ("spine", "canonical") for n in (0, 64)
        )
    }
    found: dict[str, list[tuple[NodeRecord, float, int, int]]] = {way: [] for way in ways}
    for round_ in range(rounds + 1):
        for way, plato in ways.items():
            took = await run(url, plato)
            if round_ or rounds == 1:
                found[way].append(took)
    rows: list[list[object]] = []
    for way, runs in found.items():
        last = runs[-1][0]
        waits = sorted(((r.first_token_at or 0.0) - (r.ready_at or 0.0)) * 1000 for r, *_ in runs)
        seconds = sorted(seconds for _, seconds, *_ in runs)
        rows.append(
            [
                way,
                f"{last.usage.prompt_tokens:,}",
                f"{last.expected_cached_tokens:,}",
                f"{last.usage.cached_tokens:,}",
                f"{statistics.median(waits):.0f} ({waits[0]:.0f} to {waits[-1]:.0f})",
                f"{statistics.median(seconds):.2f} ({seconds[0]:.2f} to {seconds[-1]:.2f})",
                runs[-1][2],
                f"{statistics.median(prefill for *_, prefill in runs):,.0f}",
            ]
        )
    columns = ["", "prompt", "expected", "found", "first token, ms", "run, s", "wasted tokens", "prefilled"]
    return table(columns, rows)
