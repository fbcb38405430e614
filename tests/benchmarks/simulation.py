"""Whole runs on a real SGLang server beside their simulation, which was fitted to other requests.

A server is measured; then runs of different shapes with forced lengths take turns on it, and the simulated
engine gives the same tokens to the same requests.
"""

from __future__ import annotations

import asyncio
import os
import statistics
import tempfile
from collections.abc import Sequence
from pathlib import Path

import flowdecode
from flowdecode.backend import Backend
from flowdecode_backends.sglang_client.backend import forget_servers
from flowdecode_backends.simulated import Profile, simulate
from flowdecode_backends.simulated.calibration import calibrate, open_engine
from flowdecode_graphs.plato import Plato
from flowdecode_graphs.prompts import Prompts
from tests.benchmarks import simulated_load
from tests.benchmarks.early_prefill import flush
from tests.benchmarks.forced_plan import LATE, TEA, ForcedPlan, Part
from tests.benchmarks.measure import table
from tests.benchmarks.replayed import Asked, Recorded, Recording, Replaying
from tests.sglang_server import environment
from tests.sglang_server.model import DEMO
from tests.sglang_server.server import Server

__all__ = ["main"]

WIDE = ForcedPlan(
    "Compare eight countries.",
    {
        **{number: Part(f"Country {number}", 60) for number in range(1, 9)},
        9: Part("Verdict", 40, tuple(range(1, 9))),
    },
)
CHAIN = ForcedPlan(
    "What came of it?",
    {
        1: Part("Causes", 60),
        2: Part("Course", 90, (1,)),
        3: Part("Outcome", 60, (2,)),
        4: Part("People", 120),
    },
)


def several() -> list[Asked]:
    """Sixteen runs, of which four are sequential."""
    plans = (TEA, WIDE, LATE, CHAIN, None, CHAIN, None, LATE)
    return [
        Asked(f"Question {place:02}: what is there to be said?", plan, "plato" if plan else "sequential")
        for place, plan in enumerate(plans + plans, 10)
    ]


SHAPES: dict[str, list[Asked]] = {
    "a sequential answer of 400 tokens": [Asked("Tell me about tea.", None, "sequential")],
    "a plan of six parts on three levels": [Asked("Compare tea and coffee.", TEA, "plato")],
    "eight parts at once and a verdict, long prompts": [
        Asked("Compare eight countries.", WIDE, Plato(prompts=Prompts()))
    ],
    "seven parts, of which one ends late": [Asked("Judge habits of drinking.", LATE, "plato")],
    "sixteen runs at once, twelve with plans": several(),
}


async def run_all(backend: Backend, asked: Sequence[Asked]) -> float:
    """Seconds until all are answered."""
    async with flowdecode.connect(backend) as flow:
        start = asyncio.get_running_loop().time()
        await asyncio.gather(
            *(flow.run(each.question, strategy=each.strategy, on_error="raise") for each in asked)
        )
        return asyncio.get_running_loop().time() - start


async def compared(url: str, profile: Profile, *, rounds: int) -> str:
    """The table of one server."""
    recorded: dict[str, Recorded] = {name: {} for name in SHAPES}
    backends = {name: Recording(url, asked, recorded[name]) for name, asked in SHAPES.items()}
    real: dict[str, list[float]] = {name: [] for name in SHAPES}
    for round_ in range(rounds + 1):
        for name, asked in SHAPES.items():
            await flush(url)
            seconds = await run_all(backends[name], asked)
            if round_ or rounds == 1:  # the first one compiles grammars
                real[name].append(seconds)
    rows: list[list[object]] = []
    found: list[float] = []
    for name, asked in SHAPES.items():
        engine = Replaying(profile, backends[name], recorded[name])
        simulated = await asyncio.to_thread(simulate, run_all(engine, asked))
        seconds = statistics.median(real[name])
        found.append(simulated / seconds - 1)
        spread = f"{seconds:.2f} ({min(real[name]):.2f} to {max(real[name]):.2f})"
        rows.append([name, spread, f"{simulated:.2f}", f"{found[-1]:+.0%}"])
    error = statistics.median(map(abs, found))
    return f"{table(['', 'server, s', 'simulated, s', 'error'], rows)}\n\nMedian error: {error:.1%}."


async def main(*, quick: bool) -> str:
    """The table. It needs the server's environment: `python -m tests.sglang_server.environment` makes it.

    PROFILE=FILE takes a profile that was measured before; else the server is measured first.
    SGLANG=sglang://HOST:PORT takes a server that runs.
    """
    if not (environment.folder() / "done").exists():
        return "Needs the SGLang server: `python -m tests.sglang_server.environment` installs it."
    running = os.environ.get("SGLANG")
    if running:
        return await _on(running.replace("sglang://", "http://"), quick=quick)
    with (
        tempfile.TemporaryDirectory() as folder,
        Server(DEMO, Path(folder) / "log", "--incremental-streaming-output") as server,
    ):
        await asyncio.to_thread(server.wait)
        return await _on(server.url, quick=quick)


async def _on(url: str, *, quick: bool) -> str:
    given = os.environ.get("PROFILE")
    if given:
        profile = Profile.read(given)
    else:
        async with open_engine(url.replace("http://", "sglang://")) as engine:
            profile = await calibrate(engine, rounds=1 if quick else 5)
        forget_servers()
    runs = await compared(url, profile, rounds=1 if quick else 5)
    load = await simulated_load.compared(url, profile, users=(1, 4) if quick else simulated_load.USERS)
    return f"{runs}\n\n{load}"
