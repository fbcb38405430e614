"""What tracing costs: CPU time per node and per streamed token, with OpenTelemetry's SDK and without.

The settings take turns, a short run each, so that a slow moment of the machine hits all of them alike.
A round keeps the best of ten turns; the table has the medians of five rounds. The scripted engine
answers at once: all time is the runtime's own.
"""

from __future__ import annotations

import asyncio
import gc
import math
import statistics
import time
from collections.abc import Callable
from contextlib import AbstractContextManager, nullcontext
from types import SimpleNamespace
from unittest.mock import patch

from opentelemetry._logs import NoOpLogger
from opentelemetry.metrics import NoOpMeterProvider
from opentelemetry.sdk.metrics import MeterProvider
from opentelemetry.sdk.metrics.export import InMemoryMetricReader
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.export import SimpleSpanProcessor
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter
from opentelemetry.sdk.trace.sampling import ALWAYS_OFF, ALWAYS_ON, Sampler

import flowdecode
from flowdecode import telemetry
from flowdecode.backend import Capabilities
from flowdecode_backends.scripted import Reply, Scripted

ROUNDS, TURNS, NODES, TOKENS = 5, 10, 200, 2_000


def ignore(*_: object) -> None:
    """Do nothing, in place of a method of the telemetry."""


NO_CHAT = nullcontext(SimpleNamespace(headers={}, sending=ignore))


def no_chat(*_: object) -> AbstractContextManager[object]:
    return NO_CHAT


def cut_out() -> AbstractContextManager[object]:
    """As if flowdecode had no tracing."""
    return patch.multiple(telemetry.Workflow, start=ignore, end=ignore, chat=no_chat)


def no_sdk() -> AbstractContextManager[object]:
    return nullcontext()


def sdk(sampler: Sampler, *, metrics: bool) -> AbstractContextManager[object]:
    """Tracing by an SDK of its own, which keeps what it is told in memory; the next one starts empty."""
    tracers = TracerProvider(sampler=sampler, shutdown_on_exit=False)
    tracers.add_span_processor(SimpleSpanProcessor(InMemorySpanExporter()))
    meters = (
        MeterProvider([InMemoryMetricReader()], shutdown_on_exit=False) if metrics else NoOpMeterProvider()
    )
    signals = telemetry.Signals(
        tracers.get_tracer("flowdecode"), meters.get_meter("flowdecode"), NoOpLogger("flowdecode")
    )
    return patch.object(telemetry, "signals", signals)


SETTINGS: dict[str, Callable[[], AbstractContextManager[object]]] = {
    "tracing cut out of the runtime": cut_out,
    "no SDK": no_sdk,
    "SDK, sampler off": lambda: sdk(ALWAYS_OFF, metrics=False),
    "SDK, spans in memory": lambda: sdk(ALWAYS_ON, metrics=False),
    "SDK, spans and metrics in memory": lambda: sdk(ALWAYS_ON, metrics=True),
}


async def decode(nodes: int, tokens: int) -> float:
    """CPU seconds of a graph whose nodes each stream so many tokens."""
    backend = Scripted([Reply(" a" * tokens)], capabilities=Capabilities())
    async with flowdecode.connect(backend) as flow:
        gc.collect()
        start = time.process_time()
        async with flow.graph() as graph:
            for _ in range(nodes):
                graph.decode("Go.")
        return time.process_time() - start


def one_round() -> dict[str, tuple[float, float]]:
    """Of each setting, the seconds per node and per streamed token."""
    best = dict.fromkeys(SETTINGS, (math.inf, math.inf))
    for _ in range(TURNS):
        for name, setting in SETTINGS.items():
            with setting():
                node = asyncio.run(decode(NODES, 1)) / NODES
                token = asyncio.run(decode(1, TOKENS)) / TOKENS
            best[name] = (min(best[name][0], node), min(best[name][1], token))
    return best


def main() -> None:
    """Print the table, in Markdown."""
    rounds = [one_round() for _ in range(ROUNDS)]
    print("| Setting | µs per node | of it tracing | µs per streamed token |\n|---|---:|---:|---:|")
    untraced = 0.0
    for name in SETTINGS:
        node = statistics.median(best[name][0] for best in rounds) * 1e6
        token = statistics.median(best[name][1] for best in rounds) * 1e6
        untraced = untraced or node
        print(f"| {name} | {node:.0f} | {node - untraced:.0f} | {token:.2f} |")


if __name__ == "__main__":
    main()
