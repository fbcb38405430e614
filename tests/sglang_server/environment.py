"""The server's environment: made once, in the user's cache folder, keyed by its recipe.

`python -m tests.sglang_server.environment` makes it where it is missing, and prints its Python.
It needs Python 3.11 on x86-64 Linux, about 2 GB of disk, and minutes the first time.
"""

from __future__ import annotations

import fcntl
import hashlib
import os
import platform
import shutil
import subprocess
import sys
from pathlib import Path

__all__ = ["folder", "install", "variables"]

HERE = Path(__file__).parent
SERVER = ("sglang==0.5.23", "xgrammar==0.2.7")
"""Installed without what they ask for: that has wheels for GPUs in it, see requirements.txt."""
ARCHITECTURES = {"__init__", "llama", "qwen2", "qwen3", "registry", "utils"}
"""Modules of models that the server may load; hundreds of others would be imported at its start."""


def folder() -> Path:
    """Where the environment of this very recipe is, or is going to be."""
    digest = hashlib.sha256(" ".join(SERVER).encode())
    for path in (HERE / "requirements.txt", *sorted((HERE / "site").glob("*.py"))):
        digest.update(path.read_bytes())
    cache = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache")
    return cache / "flowdecode" / f"sglang-{digest.hexdigest()[:16]}"


def install() -> Path:
    """Make the environment if it is not there; returns its Python."""
    target = folder()
    python, done = target / "bin" / "python", target / "done"
    target.parent.mkdir(parents=True, exist_ok=True)
    with (target.parent / f"{target.name}.lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)  # another checkout's run may be making it
        if not done.exists():
            print(f"Installing the SGLang server for CPUs into {target} (minutes)", file=sys.stderr)
            shutil.rmtree(target, ignore_errors=True)
            _make(target)
            done.touch()
    return python


def variables() -> dict[str, str]:
    """The environment variables that the server runs with."""
    models = next(folder().glob("lib/python3.11/site-packages/sglang/srt/models"))
    others = {path.stem for path in models.glob("*.py")} - ARCHITECTURES
    inherited = {key: value for key, value in os.environ.items() if key != "PYTHONDONTWRITEBYTECODE"}
    return {
        "OMP_NUM_THREADS": "1",
        **inherited,
        "HF_HUB_OFFLINE": "1",
        "TRANSFORMERS_OFFLINE": "1",
        "PYTHONUNBUFFERED": "1",
        "SGLANG_USE_CPU_ENGINE": "1",
        "SGLANG_DISABLED_MODEL_ARCHS": ",".join(sorted(others)),
    }


def _make(target: Path) -> None:
    python = _python()
    subprocess.run([python, "-m", "venv", target], check=True)
    python = str(target / "bin" / "python")
    subprocess.run([python, "-m", "pip", "install", "--quiet", "--no-input", "uv"], check=True)
    # Without bytecode the server takes twice as long to start.
    installer = [python, "-m", "uv", "pip", "install", "--quiet", "--compile-bytecode", "--python", python]
    if os.environ.get("TORCH") == "cpu":
        installer.append("--torch-backend=cpu")
    links = os.environ.get("UV_FIND_LINKS") or os.environ.get("PIP_FIND_LINKS", "")
    clean = {key: value for key, value in os.environ.items() if key != "PYTHONDONTWRITEBYTECODE"}
    if links:
        clean["UV_FIND_LINKS"] = links
    subprocess.run([*installer, "-r", HERE / "requirements.txt"], check=True, env=clean)
    subprocess.run([*installer, "--no-deps", *SERVER], check=True, env=clean)
    site = next(target.glob("lib/python3.11/site-packages"))
    for path in (HERE / "site").glob("*.py"):
        shutil.copy(path, site)
    (site / "zz_absent_gpu_wheels.pth").write_text("import absent_gpu_wheels\n")


def _python() -> str:
    """A Python 3.11 for the environment; exits with the reason where the server can't run here."""
    if sys.platform != "linux" or platform.machine() != "x86_64":
        sys.exit(f"Expected Linux on x86-64 for the SGLang server, got {sys.platform} {platform.machine()}.")
    for candidate in (sys.executable, "python3.11", "python3"):
        code = "import sys, venv, ensurepip; print(sys.version_info[:2] == (3, 11))"
        try:
            found = subprocess.run([candidate, "-c", code], capture_output=True, text=True, check=False)
        except FileNotFoundError:
            continue
        if found.stdout.strip() == "True":
            return candidate
    sys.exit("Expected Python 3.11 for the SGLang server, found none: install it, as `python3.11`.")


if __name__ == "__main__":
    print(install())
