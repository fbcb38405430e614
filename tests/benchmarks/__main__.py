"""The benchmarks: `python -m tests.benchmarks [NAME ...] [--quick]` prints Markdown tables."""

from __future__ import annotations

import argparse
import asyncio
import platform
from collections.abc import Callable, Coroutine
from typing import Any

from tests.benchmarks import (
    chat_chunks,
    chunks,
    compiled_step,
    efficiency,
    hedge,
    local_engine,
    many_runs,
    overhead,
    peer_methods,
    real_server,
    simulation,
    telemetry_cost,
    tokens,
)


async def tracing(*, quick: bool) -> str:
    """It prints its own table, and takes minutes: not for a quick look."""
    if not quick:
        await asyncio.to_thread(telemetry_cost.main)
    return ""


BENCHMARKS: dict[str, Callable[..., Coroutine[Any, Any, str]]] = {
    "overhead": overhead.main,
    "tokens": tokens.main,
    "chat_chunks": chat_chunks.main,
    "chunks": chunks.main,
    "sglang": real_server.main,
    "simulation": simulation.main,
    "efficiency": efficiency.main,
    "methods": peer_methods.main,
    "hedge": hedge.main,
    "many_runs": many_runs.main,
    "local_engine": local_engine.main,
    "compiled_step": compiled_step.main,
    "tracing": tracing,
}


def main() -> None:
    """Run those that are named, or all."""
    parser = argparse.ArgumentParser(prog="python -m tests.benchmarks", description=__doc__)
    parser.add_argument("names", nargs="*", metavar="NAME", help=", ".join(BENCHMARKS))
    parser.add_argument("--quick", action="store_true", help="one round, small sizes: to try them out")
    options = parser.parse_args()
    if unknown := set(options.names) - set(BENCHMARKS):
        parser.error(f"Expected names among {', '.join(BENCHMARKS)}, got {', '.join(sorted(unknown))}.")
    print(f"Python {platform.python_version()}")
    for name in options.names or BENCHMARKS:
        print(f"\n## {name}\n\n`python -m tests.benchmarks {name}`\n", flush=True)
        print(asyncio.run(BENCHMARKS[name](quick=options.quick)), flush=True)


if __name__ == "__main__":
    main()
