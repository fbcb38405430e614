"""Scripts of replies, and the command line in a process of its own."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import msgspec
import pytest

from flowdecode_backends.scripted import Reply

Script = Callable[..., str]
Console = Callable[..., "subprocess.CompletedProcess[bytes]"]

UNSET = ("COLUMNS", "FLOWDECODE_BACKEND", "FORCE_COLOR", "GITHUB_ACTIONS", "PYTHONIOENCODING", "PYTHONUTF8")


@pytest.fixture(autouse=True)
def clean_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    """No variable of the developer's own changes what is printed."""
    for name in UNSET:
        monkeypatch.delenv(name, raising=False)


@pytest.fixture
def script(tmp_path: Path) -> Script:
    """Writes replies to a file; returns the URL of the backend that replays them."""

    def write(*replies: Reply) -> str:
        path = tmp_path / "replies.jsonl"
        path.write_bytes(b"\n".join(map(msgspec.json.encode, replies)))
        return f"scripted:{path}"

    return write


@pytest.fixture
def console() -> Console:
    """Runs `flowdecode` to its end in a process of its own."""

    def run(*args: str, **env: str) -> subprocess.CompletedProcess[bytes]:
        command = [sys.executable, "-m", "flowdecode.cli", *args]
        return subprocess.run(command, env={**os.environ, **env}, capture_output=True, check=False)

    return run
