"""What is trained: the baseline, both stages and the ablations, each by a command of `flowdecode train`."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path

from flowdecode_backends.local.bundled import bundled

__all__ = ["ABLATIONS", "LAMBDAS", "REQUESTS", "ROUNDS", "models", "prefer", "supervise"]

EXAMPLES = 6_400
REQUESTS = "stage 1, requests"
"""The one that learns what re-prompting sends."""
SUPERVISED = ["--epochs", "1", "--optimizer", "muon", "--rate", "0.01", "--main-weight", "5"]
PREFERRED = ["--limit", "240", "--samples", "4", "--rate", "2e-4", "--epochs", "2"]
ROUNDS = 2
LAMBDAS = ("1", "4", "inf")
ABLATIONS: dict[str, tuple[list[str], list[str]]] = {
    "positions exact": (["--lengths", "exact"], ["--exact"]),
    "positions fixed": (["--lengths", "fixed"], []),
    "without topic": (["--no-topic"], []),
    "without sync": (["--no-sync"], []),
}
"""What is told to annotate and to sft, each retrained; supervised only is stage 1 itself."""


def supervise(folder: Path, names: Sequence[str] = ()) -> None:
    """The first stage: the baseline, stage 1, and the ablations; those of `names`, or all."""
    ways: dict[str, tuple[list[str], list[str]]] = {
        "baseline": ([], ["--plain"]),
        "stage 1": ([], []),
        REQUESTS: ([], ["--form", "causal"]),
        **ABLATIONS,
    }
    start = str(bundled("atlas"))
    for name, (annotated, trained) in ways.items():
        if names and name not in names:
            continue
        data = folder / "data" / f"{'-'.join(annotated).strip('-') or 'tens'}.jsonl"
        if not data.exists():
            data.parent.mkdir(parents=True, exist_ok=True)
            examples = ["--atlas", str(EXAMPLES), "--seed", "1", *annotated]
            _run("annotate", *examples, "--model", start, "--out", str(data))
        _run("sft", str(data), "--model", start, "--out", str(folder / name), *SUPERVISED, *trained)


def prefer(folder: Path, weights: Sequence[str] = LAMBDAS) -> None:
    """The second stage, for each lambda."""
    given = ["--model", str(folder / "stage 1"), "--baseline", str(folder / "baseline")]
    asked = ["--prompts", "atlas", "--scorer", "atlas", "--rounds", str(ROUNDS), *PREFERRED]
    _run("prefer", *given, *asked, "--lambda", ",".join(weights), "--out", str(folder / "preferred"))


def models(folder: Path) -> dict[str, Path]:
    """The folders of all models that are there, by what they are called in the table."""
    found = {name: folder / name for name in ("baseline", "stage 1", REQUESTS, *ABLATIONS)}
    for weight in LAMBDAS:
        for number in range(1, ROUNDS + 1):
            path = folder / "preferred" / f"lambda-{weight}" / f"round-{number}" / "model"
            found[f"lambda {weight}, round {number}"] = path
    return {name: path for name, path in found.items() if (path / "config.json").exists()}


def _run(*arguments: str) -> None:
    subprocess.run([sys.executable, "-m", "flowdecode.cli", "train", *arguments], check=True)
