"""Train the bundled demo model: `python -m examples.demo_model --help`; docs/demo_model.md has the stages."""

from __future__ import annotations

import logging
from pathlib import Path
from typing import Annotated

import msgspec
import typer

from examples.demo_model.train import Settings, Training
from flowdecode.backend import ModelProfile

PROFILE = Path("backends/flowdecode_backends/demo/atlas/flowdecode.json")


def train(
    folder: Annotated[Path, typer.Argument(help="Where checkpoints and the model are written.")],
    start: Annotated[Path | None, typer.Option(help="An earlier stage's model to start from.")] = None,
    minutes: Annotated[float, typer.Option(help="Of training steps.")] = 80,
    order: Annotated[float, typer.Option(help="The share of drills in order.")] = 0.4,
    rate: Annotated[float, typer.Option(help="Of the full learning rates, what a later stage takes.")] = 1.0,
    flat: Annotated[float, typer.Option(help="The share of the time before the rates fall.")] = 0.4,
) -> None:
    """Train a model from nothing or from an earlier stage, or go on where a training stopped."""
    logging.basicConfig(level=logging.INFO, format="%(asctime)s %(message)s")
    profile = msgspec.json.decode(PROFILE.read_bytes(), type=ModelProfile)
    Training(folder, profile, Settings(start=start, minutes=minutes, order=order, rate=rate, flat=flat)).run()


if __name__ == "__main__":
    typer.run(train)
