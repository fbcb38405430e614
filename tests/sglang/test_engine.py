"""`sglang-engine:` in the server's environment: the conformance kit, and a run."""

from __future__ import annotations

import os
import subprocess
from importlib.metadata import distribution
from pathlib import Path

import pytest

from tests.sglang_server import environment

ROOT = Path(__file__).parents[2]


@pytest.mark.timeout(500)
def test_the_engine_conforms(model_folder: Path, tmp_path: Path) -> None:
    python = environment.folder() / "bin" / "python"
    installed = distribution("flowdecode").read_text("entry_points.txt")
    information = tmp_path / "flowdecode-0.dist-info"  # that environment has flowdecode on its path only
    information.mkdir()
    (information / "METADATA").write_text("Metadata-Version: 2.1\nName: flowdecode\nVersion: 0\n")
    (information / "entry_points.txt").write_text(installed or "")
    paths = os.pathsep.join(map(str, (ROOT, ROOT / "backends", ROOT / "graphs", tmp_path)))
    done = subprocess.run(
        [python, "-m", "tests.sglang_server.engine_conformance", str(model_folder)],
        env={**environment.variables(), "PYTHONPATH": paths},
        capture_output=True,
        text=True,
        timeout=480,
        check=False,
    )
    assert done.returncode == 0, done.stdout[-4000:] + done.stderr[-4000:]
    assert " passed, 0 failed" in done.stdout
