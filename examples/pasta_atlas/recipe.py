"""What is trained: the baseline, both stages and the ablations, each by a command of `flowdecode train`."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path

from flowdecode_backends.local.bundled import bundled

__all__ = [
    "ABLATED_BASELINE",
    "ABLATIONS",
    "BASELINE",
    "LAMBDAS",
    "NOT_SHIPPED",
    "STAGES",
    "STAGE_2",
    "models",
    "prefer",
    "supervise",
]

BASELINE, ABLATED_BASELINE = "baseline", "baseline of the ablations"
"""The same data with the tags stripped, the same steps; decoded sequentially."""
EXAMPLES = 25_600
"""For the baseline and the first stage."""
ABLATED = 9_600
"""For each of the ablations: their first ones."""
CAUSAL = "stage 1, causal"
"""The one that learns what re-prompting sends."""
SUPERVISED = ["--epochs", "1", "--optimizer", "muon", "--rate", "0.01", "--main-weight", "5"]
PREFERRED = ["--limit", "240", "--samples", "4", "--rate", "2e-4", "--epochs", "2"]
ROUNDS = 2
LAMBDAS = ("1", "2", "4", "8", "inf")
STAGES: dict[str, tuple[list[str], list[str]]] = {
    BASELINE: ([], ["--plain"]),
    "stage 1": ([], []),
    CAUSAL: ([], ["--form", "causal"]),
}
"""What is told to annotate and to sft."""
STAGE_2 = {"stage 1": "preferred", CAUSAL: "preferred, causal"}
"""The folders of the second stage, by what it starts from."""
ABLATIONS: dict[str, tuple[list[str], list[str]]] = {
    ABLATED_BASELINE: ([], ["--plain"]),
    "positions in tens": ([], []),
    "positions exact": (["--lengths", "exact"], ["--exact"]),
    "positions fixed": (["--lengths", "fixed"], []),
    "without topic": (["--no-topic"], []),
    "without sync": (["--no-sync"], []),
}
"""Each retrained on fewer examples; those below the second differ from it in one thing."""
NOT_SHIPPED = ("checkpoints", "sft.json")
"""What a training leaves in its folder beside the model."""


def supervise(folder: Path, names: Sequence[str]) -> None:
    """The first stage: those of the baseline, stage 1 and the ablations that are named."""
    start = str(bundled("atlas"))
    for name in names:
        annotated, trained = (STAGES | ABLATIONS)[name]
        count = EXAMPLES if name in STAGES else ABLATED
        data = folder / "data" / f"{count}{''.join(annotated)}.jsonl"
        if not data.exists():
            data.parent.mkdir(parents=True, exist_ok=True)
            examples = ["--atlas", str(count), "--seed", "1", *annotated]
            _run("annotate", *examples, "--model", start, "--out", str(data))
        _run("sft", str(data), "--model", start, "--out", str(folder / name), *SUPERVISED, *trained)


def prefer(folder: Path, weights: Sequence[str], names: Sequence[str]) -> None:
    """The second stage, for each lambda, from each of the forms of stage 1 that are named."""
    asked = ["--prompts", "atlas", "--scorer", "atlas", "--rounds", str(ROUNDS), *PREFERRED]
    for name in names:
        given = ["--model", str(folder / name), "--baseline", str(folder / BASELINE)]
        _run("prefer", *given, *asked, "--lambda", ",".join(weights), "--out", str(folder / STAGE_2[name]))


def models(folder: Path) -> dict[str, Path]:
    """The folders of all models that are there, by what they are called in the table."""
    found = {name: folder / name for name in STAGES | ABLATIONS}
    for start, out in STAGE_2.items():
        for weight in LAMBDAS:
            for number in range(1, ROUNDS + 1):
                name = start.replace("stage 1", f"lambda {weight}, round {number}")
                found[name] = folder / out / f"lambda-{weight}" / f"round-{number}" / "model"
    return {name: path for name, path in found.items() if (path / "config.json").exists()}


def _run(*arguments: str) -> None:
    subprocess.run([sys.executable, "-m", "flowdecode.cli", "train", *arguments], check=True)
