"""Methods of parallel decoding side by side: plans of forced lengths, on three engines.

`python -m tests.benchmarks methods`. The demo model on the local engine and on SGLang, in real time; and the
simulated engine, in virtual time, with costs in the region of a large model on a GPU. Every answer begins
with a system message that no other has, so that nothing of it is in the engine's prefix cache.
"""

from __future__ import annotations

import asyncio
import gc
import tempfile
from collections.abc import AsyncGenerator, Awaitable, Callable, Iterator, Mapping
from contextlib import AsyncExitStack, asynccontextmanager
from functools import partial
from pathlib import Path

import msgspec

from flowdecode.backend import Backend, ModelProfile
from flowdecode.context import Block, Context
from flowdecode_backends.local.model import Source
from flowdecode_backends.scripted import Reply
from flowdecode_backends.simulated import Simulated, simulate
from flowdecode_graphs.plato import Plato
from flowdecode_graphs.prompts import Prompts
from tests.benchmarks.early_prefill import prefilled
from tests.benchmarks.forced_engines import EndlessLocal, EndlessSGLang, forced_text
from tests.benchmarks.forced_plan import GUIDE, VERDICT, ForcedPlan
from tests.benchmarks.measure import table
from tests.benchmarks.methods import llmcompiler, plato, sequential, skeleton_of_thought, threadweaver
from tests.benchmarks.methods.client import Method, measure
from tests.benchmarks.methods.fork import open_fork
from tests.benchmarks.methods.measured import COLUMNS, Measured, row
from tests.sglang_server import environment
from tests.sglang_server.model import DEMO
from tests.sglang_server.server import Server

__all__ = ["METHODS", "main", "systems"]

METHODS: dict[str, Method] = {
    "sequential": sequential.answer,
    "Skeleton-of-Thought": skeleton_of_thought.answer,
    "LLMCompiler's schedule": llmcompiler.answer,
    "ThreadWeaver": threadweaver.answer,
}
Way = Callable[[ForcedPlan, str], Awaitable[Measured]]
"""Answers by a plan, behind a system message."""

PLANS = {"five independent parts": GUIDE, "three uneven levels": VERDICT}


async def main(*, quick: bool) -> str:
    """It prints a table for each engine and plan, as they are done.

    SGLang needs its environment: `python -m tests.sglang_server.environment` makes it.
    """
    for title, plan in PLANS.items():
        rows = await asyncio.to_thread(simulated, plan)
        print(table([f"simulated, {title} of {sum(plan.lengths)} tokens", *COLUMNS], rows), end="\n\n")
    for name, opened in {"the local engine": local_ways, "SGLang": sglang_ways}.items():
        if name == "SGLang" and not (environment.folder() / "done").exists():
            print("SGLang: not here; `python -m tests.sglang_server.environment` installs it.")
            continue
        async with opened() as (ways, backend):
            unused = systems(backend)
            for title, plan in PLANS.items():
                rows = await compared(ways, plan, unused, rounds=1 if quick else 5)
                head = f"{name}, {title} of {sum(plan.lengths)} tokens"
                print(table([head, *COLUMNS], rows), flush=True, end="\n\n")
    return ""


def systems(backend: Backend) -> Iterator[str]:
    """System messages of one length in tokens."""
    texts = (f"Session {number}." for number in range(1_000, 10_000))
    sizes = ((text, backend.count_tokens(Context(Block("system", text)))) for text in texts)
    first, size = next(sizes)
    yield first
    yield from (text for text, other in sizes if other == size)


def any_engine(backend: Backend) -> dict[str, Way]:
    """What needs nothing of an engine but that it decodes."""

    async def one(method: Method, plan: ForcedPlan, system: str) -> Measured:
        return await measure(method, backend, plan, system)

    return {name: partial(one, method) for name, method in METHODS.items()}


def flowdecode_ways(backend: Backend) -> dict[str, Way]:
    """`plato`, with the demo model's own prompts, and with those for models that know nothing of plans."""
    standard = Plato(prompts=Prompts())
    return {
        "flowdecode": partial(plato.measure, backend),
        "flowdecode, standard prompts": partial(plato.measure, backend, strategy=standard),
    }


def simulated(plan: ForcedPlan) -> list[list[object]]:
    """A row for each way, one round: nothing varies."""
    profile = msgspec.json.decode((DEMO / "flowdecode.json").read_bytes(), type=ModelProfile)
    backend = Simulated(replies=lambda request: Reply(forced_text(request)), profile=profile)
    ways, unused = any_engine(backend) | flowdecode_ways(backend), systems(backend)

    async def run(way: Way) -> Measured:
        async with backend:
            return await way(plan, next(unused))

    return [[name, *row([simulate(run(way))])] for name, way in ways.items()]


@asynccontextmanager
async def local_ways() -> AsyncGenerator[tuple[dict[str, Way], Backend]]:
    """Every way on the local engine."""
    async with EndlessLocal(Source(str(DEMO), device="cpu")) as backend:
        yield any_engine(backend) | flowdecode_ways(backend), backend


@asynccontextmanager
async def sglang_ways() -> AsyncGenerator[tuple[dict[str, Way], Backend]]:
    """Every way on a server of its own. Only flowdecode's requests wait for a sibling's prefix."""
    async with AsyncExitStack() as stack:
        folder = stack.enter_context(tempfile.TemporaryDirectory())
        server = stack.enter_context(Server(DEMO, Path(folder) / "log", "--incremental-streaming-output"))
        await asyncio.to_thread(server.wait)
        plain = await stack.enter_async_context(EndlessSGLang(server.url, warm=0))
        warming = await stack.enter_async_context(EndlessSGLang(server.url))
        assert plain.tokens is not None
        fork = await stack.enter_async_context(open_fork(server.url, plain.tokens.tokenizer))
        prompts = Prompts.for_engine(plain.engine)

        async def forked(plan: ForcedPlan, system: str) -> Measured:
            return await fork.measure(plan, system, prompts)

        ways = any_engine(plain) | {"SGLang's `fork`": forked} | flowdecode_ways(warming)
        yield {name: counted(way, server.url) for name, way in ways.items()}, plain


def counted(way: Way, url: str) -> Way:
    """With the prefilled tokens by the server's own count."""

    async def run(plan: ForcedPlan, system: str) -> Measured:
        before = await prefilled(url)
        took = await way(plan, system)
        await asyncio.sleep(0.5)  # the server tells its counts now and then
        return msgspec.structs.replace(took, prefilled=await prefilled(url) - before)

    return run


async def compared(
    ways: Mapping[str, Way], plan: ForcedPlan, unused: Iterator[str], *, rounds: int
) -> list[list[object]]:
    """A row for each way; they take turns, and the first round is not counted."""
    found: dict[str, list[Measured]] = {name: [] for name in ways}
    for round_ in range(rounds + 1):
        for name, way in ways.items():
            gc.collect()
            took = await way(plan, next(unused))
            if round_:
                found[name].append(took)
    return [[name, *row(runs)] for name, runs in found.items()]
