"""What is trained: the baseline, both stages and the ablations, each by a command of `flowdecode train`."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path

from flowdecode_backends.local.bundled import bundled

__all__ = [
    "ABLATIONS",
    "LAMBDAS",
    "NOTES",
    "REQUESTS",
    "ROUNDS",
    "models",
    "prefer",
    "supervise",
]

EXAMPLES = 25_600
"""For the baseline and the first stage."""
ABLATED = 9_600
"""For each of the ablations: their first ones."""
REQUESTS = "stage 1, requests"
"""The one that learns what re-prompting sends."""
SUPERVISED = ["--epochs", "1", "--optimizer", "muon", "--rate", "0.01", "--main-weight", "5"]
PREFERRED = ["--limit", "240", "--samples", "4", "--rate", "2e-4", "--epochs", "2"]
ROUNDS = 2
LAMBDAS = ("1", "2", "4", "8", "inf")
STAGES: dict[str, tuple[list[str], list[str]]] = {
    "baseline": ([], ["--plain"]),
    "stage 1": ([], []),
    REQUESTS: ([], ["--form", "causal"]),
}
"""What is told to annotate and to sft."""
SECONDS = {"stage 1": "preferred", REQUESTS: "preferred, requests"}
"""The folders of the second stage, by what it starts from."""
ABLATIONS: dict[str, tuple[list[str], list[str]]] = {
    "baseline of the ablations": ([], ["--plain"]),
    "positions in tens": ([], []),
    "positions exact": (["--lengths", "exact"], ["--exact"]),
    "positions fixed": (["--lengths", "fixed"], []),
    "without topic": (["--no-topic"], []),
    "without sync": (["--no-sync"], []),
}
"""Each retrained on fewer examples; those below the second differ from it in one thing."""
NOTES = ("checkpoints", "sft.json")
"""What a training leaves in its folder beside the model."""


def supervise(folder: Path, names: Sequence[str] = ()) -> None:
    """The first stage: the baseline, stage 1, and the ablations; those of `names`, or all."""
    start = str(bundled("atlas"))
    for name, (annotated, trained) in (STAGES | ABLATIONS).items():
        if names and name not in names:
            continue
        count = EXAMPLES if name in STAGES else ABLATED
        data = folder / "data" / f"{count}{''.join(annotated)}.jsonl"
        if not data.exists():
            data.parent.mkdir(parents=True, exist_ok=True)
            examples = ["--atlas", str(count), "--seed", "1", *annotated]
            _run("annotate", *examples, "--model", start, "--out", str(data))
        _run("sft", str(data), "--model", start, "--out", str(folder / name), *SUPERVISED, *trained)


def prefer(folder: Path, weights: Sequence[str] = LAMBDAS, names: Sequence[str] = ()) -> None:
    """The second stage, for each lambda; from those of `names`, or from both forms of stage 1."""
    asked = ["--prompts", "atlas", "--scorer", "atlas", "--rounds", str(ROUNDS), *PREFERRED]
    for name in names or SECONDS:
        given = ["--model", str(folder / name), "--baseline", str(folder / "baseline")]
        _run("prefer", *given, *asked, "--lambda", ",".join(weights), "--out", str(folder / SECONDS[name]))


def models(folder: Path) -> dict[str, Path]:
    """The folders of all models that are there, by what they are called in the table."""
    found = {name: folder / name for name in STAGES | ABLATIONS}
    for start, out in SECONDS.items():
        for weight in LAMBDAS:
            for number in range(1, ROUNDS + 1):
                name = start.replace("stage 1", f"lambda {weight}, round {number}")
                found[name] = folder / out / f"lambda-{weight}" / f"round-{number}" / "model"
    return {name: path for name, path in found.items() if (path / "config.json").exists()}


def _run(*arguments: str) -> None:
    subprocess.run([sys.executable, "-m", "flowdecode.cli", "train", *arguments], check=True)
