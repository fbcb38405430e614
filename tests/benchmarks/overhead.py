"""What a node costs: graphs whose nodes do nothing, beside bare asyncio tasks and other graph runtimes."""

from __future__ import annotations

import time
from collections.abc import Sequence
from functools import partial

import flowdecode
from flowdecode.backend import Request
from flowdecode.context import Block, Context
from flowdecode.sampling import SamplingParams
from tests.benchmarks.instant import Instant
from tests.benchmarks.measure import Case, interleaved, table
from tests.benchmarks.peers import PEERS
from tests.benchmarks.shapes import BARE, SHAPES, Add, Work, add_call, add_decode, nothing

__all__ = ["main"]

SIZES = (10, 1_000, 10_000)
PEER_SIZE = 1_000
CONTEXT = Context(Block("user", "?"))
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


async def read_engine() -> None:
    """What a decode cannot do without: one request, and its stream."""
    request = Request(id="1", run_id="1", context=CONTEXT, sampling=SamplingParams())
    async with Instant().decode(request) as decoding:
        async for _ in decoding:
            pass


async def bare_case(shape: str, count: int, work: Work) -> float:
    """Microseconds a node as bare asyncio tasks."""
    repeats = max(1, NODES_A_TURN // count)
    start = time.perf_counter()
    for _ in range(repeats):
        await BARE[shape](count, work)
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
                "bare": partial(bare_case, shape, count, nothing),
                "bare, engine": partial(bare_case, shape, count, read_engine),
                "call": partial(flowdecode_case, shape, count, add_call),
                "decode": partial(flowdecode_case, shape, count, add_decode),
            }
            took = await interleaved(cases, rounds=rounds)
            ratios = [
                f"{took[name].median / took[base].median:.1f}"
                for name, base in (("call", "bare"), ("decode", "bare"), ("decode", "bare, engine"))
            ]
            rows.append([shape, f"{count:,}", *took.values(), *ratios])
    own = table(
        [
            "graph",
            "nodes",
            "bare tasks, µs",
            "that read the engine, µs",
            "`call`, µs",
            "`decode`, µs",
            "call / bare",
            "decode / bare",
            "decode / bare that read",
        ],
        rows,
    )

    rows = []
    for shape in ("chain", "fan-out"):
        cases = {"bare tasks": partial(bare_case, shape, PEER_SIZE, nothing)}
        cases |= {name: partial(peer_case, name, shape, PEER_SIZE) for name in PEERS}
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
