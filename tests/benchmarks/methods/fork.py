"""SGLang's frontend language: `fork` for the parts of a level, after the plan and after the level before.

It has no streaming plan and no dependencies: a part that is ready waits until all of its level are. Every
fork of more than one part sends a request of its own first, which has the server cache what they share.
It runs in the server's environment, over `/generate` with text, in a process that is kept between runs;
its first part is there for a reader when it is complete, as forks are not streamed.
"""

from __future__ import annotations

import asyncio
import json
import subprocess
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import msgspec

from flowdecode_graphs.prompts import Prompts
from tests.benchmarks.forced_plan import ForcedPlan, in_tokens
from tests.benchmarks.methods.measured import Measured
from tests.sglang_server import environment

__all__ = ["Fork", "open_fork"]

PROGRAM = Path(__file__).parent / "fork_program.py"


class Fork:
    """The process that runs plans."""

    def __init__(self, process: asyncio.subprocess.Process, tokenizer: Any) -> None:
        self._tokenizer = tokenizer
        assert process.stdin is not None
        assert process.stdout is not None
        self._stdin, self._stdout = process.stdin, process.stdout

    async def measure(self, plan: ForcedPlan, system: str, prompts: Prompts) -> Measured:
        """One run, by Plato's prompts."""
        parts = {
            number: {
                "tokens": part.tokens,
                "instruction": plan.instruction(number, prompts),
                "told": [(parent, plan.told(parent, "\0", prompts)) for parent in part.parents],
            }
            for number, part in plan.parts.items()
        }
        given = {
            "system": system + prompts.rules,
            "question": plan.question + prompts.plan,
            "plan": in_tokens(self._tokenizer.encode(plan.text, add_special_tokens=False)),
            "levels": plan.levels,
            "parts": parts,
        }
        self._stdin.write(msgspec.json.encode(given) + b"\n")
        return msgspec.json.decode(await self.line(), type=Measured)

    async def line(self) -> bytes:
        """The next line of its answer. Raises RuntimeError where it has ended."""
        line = await self._stdout.readline()
        if not line:
            raise RuntimeError("Expected an answer of SGLang's frontend, it has ended: see its errors above.")
        return line


@asynccontextmanager
async def open_fork(url: str, tokenizer: Any) -> AsyncGenerator[Fork]:
    """The frontend before the server at `url`, whose chat template is that of `tokenizer`."""
    python = environment.folder() / "bin" / "python"
    process = await asyncio.create_subprocess_exec(
        *(python, PROGRAM, url, json.dumps(_template(tokenizer))),
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        env=environment.variables(),
    )
    fork = Fork(process, tokenizer)
    try:
        assert await fork.line() == b"ready\n"
        yield fork
    finally:
        assert process.stdin is not None
        process.stdin.close()
        await process.wait()


def _template(tokenizer: Any) -> dict[str, list[str]]:
    """By role, what a chat template writes before and behind a message."""
    found: dict[str, list[str]] = {}
    for role in ("system", "user", "assistant"):
        text: str = tokenizer.apply_chat_template([{"role": role, "content": "\0"}], tokenize=False)
        found[role] = text.split("\0")
    return found
