"""Train, score and time the bundled demo model: `python -m examples.demo_model --help`."""

from __future__ import annotations

import asyncio
import logging
from pathlib import Path
from typing import Annotated

import msgspec
import typer
from rich.console import Console

from flowdecode.backend import ModelProfile

PROFILE = Path("backends/flowdecode_backends/demo/atlas/flowdecode.json")

app = typer.Typer(help="Train, score and time the bundled demo model.", no_args_is_help=True)
Backend = Annotated[str, typer.Option(help="The model, as a backend URL.")]
Limit = Annotated[int | None, typer.Option(help="The most questions of each kind.")]


@app.command()
def train(
    folder: Annotated[Path, typer.Argument(help="Where checkpoints and the model are written.")],
    start: Annotated[Path | None, typer.Option(help="An earlier stage's model to start from.")] = None,
    minutes: Annotated[float, typer.Option(help="Of training steps.")] = 80,
    order: Annotated[float, typer.Option(help="The share of drills in order.")] = 0.4,
    flat: Annotated[float, typer.Option(help="The share of the time before the rates fall.")] = 0.4,
) -> None:
    """Train a model from nothing or from an earlier stage, or go on where a training stopped."""
    from examples.demo_model.train import Settings, Training

    logging.basicConfig(level=logging.INFO, format="%(asctime)s %(message)s")
    profile = msgspec.json.decode(PROFILE.read_bytes(), type=ModelProfile)
    Training(folder, profile, Settings(start=start, minutes=minutes, order=order, flat=flat)).run()


@app.command()
def quality(backend: Backend = "local:", limit: Limit = None) -> None:
    """Score all strategies on the held-out questions."""
    from examples.demo_model.evaluate import measure_quality

    Console().print(asyncio.run(measure_quality(backend, limit)))


@app.command()
def speed(backend: Backend = "local:", limit: Limit = None) -> None:
    """Time plato beside sequential on the held-out guides with four long parts and more."""
    from examples.demo_model.evaluate import measure_speed

    Console().print(asyncio.run(measure_speed(backend, limit)))


if __name__ == "__main__":
    app()
