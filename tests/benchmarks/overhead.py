"""What a node costs: graphs whose nodes do nothing, beside bare asyncio tasks and other graph runtimes."""

from __future__ import annotations

import time
from collections.abc import Sequence
from functools import partial

import flowdecode
from tests.benchmarks.instant import Instant
from tests.benchmarks.measure import Case, Sample, interleaved, table
from tests.benchmarks.peers import PEERS
from tests.benchmarks.shapes import BARE, SHAPES, Add, add_call, add_decode

__all__ = ["main"]

SIZES = (10, 1_000, 10_000)
PEER_SIZE = 1_000
NODES_A_TURN = 2_000
"""Small graphs are run so often that a turn has about as many nodes."""


async def flowdecode_case(shape: str, count: int, add: Add) -> float:
    """Microseconds a node through flowdecode, less what an empty graph takes."""
    repeats = max(1, NODES_A_TURN // count)
    async with flowdecode.connect(Instant()) as flow:
        start = time.perf_counter()
        for _ in range(repeats):
            await SHAPES[shape](flow, count, add)
        whole = time.perf_counter() - start
        return (whole - repeats * await empty_graph(flow, repeats) / 1e6) / repeats / count * 1e6


async def empty_graph(flow: flowdecode.Flow, repeats: int) -> float:
    """Microseconds for a graph without nodes."""
    start = time.perf_counter()
    for _ in range(repeats):
        async with flow.graph():
            pass
    return (time.perf_counter() - start) / repeats * 1e6


async def empty_case() -> float:
    """The same, over a new connection."""
    async with flowdecode.connect(Instant()) as flow:
        return await empty_graph(flow, 500)


async def bare_case(shape: str, count: int) -> float:
    """Microseconds a node as bare asyncio tasks."""
    repeats = max(1, NODES_A_TURN // count)
    start = time.perf_counter()
    for _ in range(repeats):
        await BARE[shape](count)
    return (time.perf_counter() - start) / repeats / count * 1e6


async def peer_case(peer: str, shape: str, count: int) -> float:
    """Microseconds a node in another graph runtime."""
    return await PEERS[peer](shape, count) / count * 1e6


async def main(*, quick: bool) -> str:
    """The tables."""
    rounds = 1 if quick else 5
    rows: list[Sequence[object]] = []
    for shape in SHAPES:
        for count in SIZES[:2] if quick else SIZES:
            cases: dict[str, Case] = {
                "bare": partial(bare_case, shape, count),
                "call": partial(flowdecode_case, shape, count, add_call),
                "decode": partial(flowdecode_case, shape, count, add_decode),
            }
            took = await interleaved(cases, rounds=rounds)
            rows.append([shape, f"{count:,}", *took.values(), _ratio(took, "call"), _ratio(took, "decode")])
    own = table(
        ["graph", "nodes", "bare tasks, µs", "`call`, µs", "`decode`, µs", "call / bare", "decode / bare"],
        rows,
    )

    rows = []
    for shape in ("chain", "fan-out"):
        cases = {name: partial(peer_case, name, shape, PEER_SIZE) for name in PEERS}
        cases |= {
            "`call`": partial(flowdecode_case, shape, PEER_SIZE, add_call),
            "`decode`": partial(flowdecode_case, shape, PEER_SIZE, add_decode),
        }
        rows += [
            [f"{name}, {shape}", sample] for name, sample in (await interleaved(cases, rounds=rounds)).items()
        ]
    empty = (await interleaved({"empty": empty_case}, rounds=rounds))["empty"]
    own += f"\n\nA graph itself, without nodes, takes {empty} µs; it is not counted above."
    return f"{own}\n\nBeside others, {PEER_SIZE:,} nodes:\n\n{table(['runtime, graph', 'µs a node'], rows)}"


def _ratio(took: dict[str, Sample], name: str) -> str:
    return f"{took[name].median / took['bare'].median:.1f}"
