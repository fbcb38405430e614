"""A step of the local engine beside the same under `torch.compile`.

`python -m tests.benchmarks compiled_step`. Compiled with fixed shapes and frozen weights, which lets the
compiler lay out the linear layers itself; the attention over the pool stays outside. LOCAL_MODEL names the
folder of another model.
"""

from __future__ import annotations

import os
import time
from typing import Any
from unittest import mock

import torch
from torch._dynamo import config as dynamo
from torch._inductor import config as inductor

from flowdecode_backends.local import attention, model
from flowdecode_backends.local.bundled import bundled
from flowdecode_backends.local.model import LanguageModel, Source
from tests.benchmarks.engine_floor import steps
from tests.benchmarks.measure import Sample, interleaved, table

__all__ = ["main"]

_torch: Any = torch
_interface: Any = model._attention  # pyright: ignore[reportPrivateUsage]


async def main(*, quick: bool) -> str:
    """A row for each width."""
    torch.set_num_threads(1)
    source = Source(os.environ.get("LOCAL_MODEL", str(bundled("atlas"))), device="cpu").resolved()
    ours = LanguageModel(source)
    with mock.patch.object(model, "make_faster"):
        other = LanguageModel(source)
    _interface.register(attention.NAME, _torch.compiler.disable(attention.pool_attention))
    rows: list[list[object]] = []
    try:
        # each layer is a function of its own to the compiler, and each shape another one
        with mock.patch.object(inductor, "freezing", True), mock.patch.object(dynamo, "recompile_limit", 256):
            other.model = _torch.compile(other.model, dynamic=False)
            for width in (1,) if quick else (1, 8, 32):
                rows.append(await row(ours, other, width, quick=quick))
    finally:
        _interface.register(attention.NAME, attention.pool_attention)
    return table(["width", "a step, ms", "compiled, ms", "compiling, s"], rows)


async def row(ours: LanguageModel, other: LanguageModel, width: int, *, quick: bool) -> list[object]:
    """Medians of a step as it is and compiled, and how long compiling took."""
    started = time.perf_counter()
    steps(other, width, 3)
    compiling = time.perf_counter() - started

    async def case(which: LanguageModel) -> float:
        return steps(which, width, 10 if quick else 40)["step"]

    found: dict[str, Sample] = await interleaved(
        {"ours": lambda: case(ours), "compiled": lambda: case(other)}, rounds=1 if quick else 5
    )
    return [width, found["ours"], found["compiled"], f"{compiling:.0f}"]
