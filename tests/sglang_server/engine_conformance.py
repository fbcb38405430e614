"""The conformance kit over one `sglang-engine:` in one event loop: it takes too long to start for each test.

Run in the server's environment: `python -m tests.sglang_server.engine_conformance MODEL`.
"""

from __future__ import annotations

import asyncio
import sys
import traceback
from collections.abc import Iterator
from typing import Any

import pytest

import flowdecode
from flowdecode_backends.conformance import BackendConformance
from flowdecode_backends.sglang_client.engine import SGLangEngine

ARGUMENTS: dict[str, Any] = {
    "device": "cpu",
    "dtype": "float32",
    "max_total_tokens": 32768,
    "max_running_requests": 64,
    "sleep_on_idle": True,
}


def cases() -> Iterator[tuple[str, Any, dict[str, Any]]]:
    """The tests of the kit that take a backend, with each of their parameters."""
    for name in sorted(vars(BackendConformance)):
        test = getattr(getattr(BackendConformance, name), "__wrapped__", None)
        if not name.startswith("test_") or test is None:
            continue
        marks = [mark for mark in getattr(test, "pytestmark", []) if mark.name == "parametrize"]
        marks += [m for m in getattr(getattr(BackendConformance, name), "pytestmark", []) if m not in marks]
        if not marks:
            yield name, test, {}
        for mark in marks:
            parameter, values = mark.args
            for value in values:
                yield f"{name}[{value}]", test, {parameter: value}


async def main(model: str) -> int:
    failed = passed = 0
    async with SGLangEngine(model, **ARGUMENTS) as backend:
        for name, test, parameters in cases():
            try:
                await asyncio.wait_for(test(BackendConformance(), backend, **parameters), 60)
                passed += 1
            except pytest.skip.Exception as skipped:
                print("skipped", name, skipped)
            except Exception:  # a failing test is counted, and the others go on
                failed += 1
                print("FAILED", name)
                traceback.print_exc()
        result = await flowdecode.run("What is tea?", backend=backend, strategy="plato", max_tokens=20)
        assert result.model == backend.engine.model
    others = asyncio.all_tasks() - {asyncio.current_task()}
    assert not others, f"tasks are left: {others}"
    print(f"{passed} passed, {failed} failed")
    return failed


if __name__ == "__main__":
    sys.exit(asyncio.run(main(sys.argv[1])))
