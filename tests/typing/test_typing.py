"""Both type checkers accept `revealed.py`, and refuse every marked line of `rejected.py`."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

HERE = Path(__file__).parent
ROOT = HERE.parents[1]
FILES = [str(HERE / name) for name in ("revealed.py", "rejected.py")]


@pytest.mark.timeout(120)
@pytest.mark.parametrize("command", [["mypy"], ["pyright"]], ids=lambda command: command[0])
def test_types_are_what_users_see(command: list[str]) -> None:
    finished = subprocess.run(
        [sys.executable, "-m", *command, *FILES], cwd=ROOT, capture_output=True, text=True, check=False
    )
    assert finished.returncode == 0, finished.stdout + finished.stderr


def test_every_line_that_must_be_refused_is_marked() -> None:
    """The checkers fail where an excuse is not needed, so that the marks are the test."""
    text = (HERE / "rejected.py").read_text(encoding="utf-8")
    assert text.count("# type: ignore[") >= 25
    assert "# type: ignore\n" not in text
    assert "reportUnnecessaryTypeIgnoreComment=true" in text
    assert "type: ignore" not in (HERE / "revealed.py").read_text(encoding="utf-8")
