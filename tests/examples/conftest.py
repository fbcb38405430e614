"""Examples in a process of their own."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Callable, Iterable
from pathlib import Path

import msgspec
import pytest

from flowdecode_backends.scripted import Reply
from tests.examples.engine import EXAMPLES

Script = Callable[[Iterable[Reply]], str]
Start = Callable[..., "subprocess.Popen[str]"]
Example = Callable[..., str]


@pytest.fixture
def script(tmp_path: Path) -> Script:
    """Writes replies to a file; returns the URL of the backend that replays them."""

    def write(replies: Iterable[Reply]) -> str:
        path = tmp_path / "replies.jsonl"
        path.write_bytes(b"\n".join(map(msgspec.json.encode, replies)))
        return f"scripted:{path}"

    return write


@pytest.fixture
def start(tmp_path: Path) -> Start:
    """Starts an example from another folder, against its own script or the given backend."""

    def start(name: str, backend: str | None = None) -> subprocess.Popen[str]:
        others = ("FLOWDECODE_", "LANGCHAIN_", "LANGSMITH_", "OPENAI_", "PYTHON")
        env = {key: value for key, value in os.environ.items() if not key.startswith(others)}
        env["HF_HUB_DISABLE_PROGRESS_BARS"] = "1"
        if backend is not None:
            env["FLOWDECODE_BACKEND"] = backend
        return subprocess.Popen(
            [sys.executable, "-X", "utf8", "-W", "error", EXAMPLES / name],
            cwd=tmp_path,
            env=env,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            encoding="utf-8",
        )

    return start


@pytest.fixture
def example(start: Start) -> Example:
    """Runs an example to its end; returns what it printed, which nothing on standard error may go with."""

    def run(name: str, backend: str | None = None) -> str:
        with start(name, backend) as process:
            try:
                out, err = process.communicate()
            finally:
                process.kill()
        assert (process.returncode, err) == (0, "")
        return out

    return run
