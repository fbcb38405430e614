"""The least that a step of the local engine can take on this machine, and where the rest of it goes."""

from __future__ import annotations

import statistics
import time
from collections import defaultdict
from collections.abc import Callable, Generator
from contextlib import contextmanager
from typing import Any
from unittest import mock

import torch

from flowdecode_backends.local import attention, faster
from flowdecode_backends.local.model import LanguageModel
from flowdecode_backends.local.pool import Pool
from flowdecode_backends.local.step import Step
from flowdecode_backends.local.thread import Thread
from tests.benchmarks.measure import table

__all__ = ["told"]

PROMPT = 80


def told(ours: LanguageModel, own: Any, *, quick: bool) -> str:
    """A table for several widths; `own` is the model as transformers loads it."""
    embedded = own.get_input_embeddings().weight
    tied = own.get_output_embeddings().weight is embedded
    weights = sum(one.numel() for one in own.parameters()) - (0 if tied else embedded.numel())
    bandwidth, rate = measured_bandwidth(weights * 4), measured_rate()
    rows: list[list[object]] = []
    for width in (1, 8) if quick else (1, 8, 32):
        floor = max(weights * 4 / bandwidth, 2 * weights * width / rate) * 1000
        spent = steps(ours, width, 10 if quick else 40)
        step = spent.pop("step")
        rest = step - sum(spent.values())
        parts = [f"{spent[name]:.2f}" for name in ("linear layers", "attention", "plan of the step")]
        rows.append([width, f"{floor:.2f}", f"{step:.2f}", f"{step / floor:.1f}", *parts, f"{rest:.2f}"])
    head = (
        f"The floor of a step: {weights * 4 / 1e6:,.0f} MB of weights at {bandwidth / 1e9:.1f} GB/s, or two "
        f"operations a weight and token at {rate / 1e9:,.0f} Gflop/s, both measured, whichever is larger. In "
        "ms, medians; the rest is norms, rotary positions, activations and transformers' Python:"
    )
    columns = ["width", "floor", "a step", "times", "linear layers", "attention", "plan of the step", "rest"]
    return f"{head}\n\n{table(columns, rows)}"


def measured_bandwidth(size: int) -> float:
    """Bytes per second of reading as much as the weights, all caches included as in a step."""
    numbers = torch.ones(size // 4)
    return size / best(lambda: numbers.sum())


def measured_rate() -> float:
    """Floating-point operations per second of the fastest product of matrices at hand."""
    layer = torch.nn.Linear(1024, 1024, bias=False)
    holder = torch.nn.Sequential(layer)
    faster.make_faster(holder)
    with torch.inference_mode():
        return 2 * 512 * 1024 * 1024 / best(lambda: holder(torch.ones(512, 1024)))


def best(work: Callable[[], object], rounds: int = 20) -> float:
    """Seconds of the fastest of several rounds."""
    spent: list[float] = []
    for _ in range(rounds):
        started = time.perf_counter()
        work()
        spent.append(time.perf_counter() - started)
    return min(spent)


def steps(model: LanguageModel, width: int, count: int) -> dict[str, float]:
    """Milliseconds of a step and of its parts, medians over `count` steps of `width` threads."""
    pool = Pool(width * 1024, width)
    threads = [Thread(pool) for _ in range(width)]
    for number, thread in enumerate(threads):
        thread.say([(number + index) % 300 for index in range(PROMPT)])
        step = model.new_step(pool)
        model.forward(step, [step.feed(thread, PROMPT)])
    spent: dict[str, list[float]] = defaultdict(list)
    for _ in range(count):
        for thread in threads:
            thread.say([7])
        now: dict[str, float] = defaultdict(float)
        with (
            timed(faster.PackedLinear, "forward", "linear layers", now),
            timed(attention.Branches, "attend", "attention", now),
            timed(Pool, "write", "attention", now),
            timed(Step, "close", "plan of the step", now),
        ):
            started = time.perf_counter()
            step = model.new_step(pool)
            feeds = [step.feed(thread, 1) for thread in threads]
            now["plan of the step"] += time.perf_counter() - started
            model.forward(step, feeds).argmax(-1).tolist()  # pyright: ignore[reportUnknownMemberType]
            now["step"] = time.perf_counter() - started
        for name, seconds in now.items():
            spent[name].append(seconds * 1000)
    return {name: statistics.median(values) for name, values in spent.items()}


@contextmanager
def timed(owner: Any, method: str, name: str, now: dict[str, float]) -> Generator[None]:
    """Add up what a method takes."""
    whole = getattr(owner, method)

    def wrapper(*args: Any, **kwargs: Any) -> Any:
        started = time.perf_counter()
        result = whole(*args, **kwargs)
        now[name] += time.perf_counter() - started
        return result

    with mock.patch.object(owner, method, wrapper):
        yield
