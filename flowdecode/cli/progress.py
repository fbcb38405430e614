"""What takes minutes: a bar on standard error, and what is said where it is stopped."""

from __future__ import annotations

from collections.abc import Generator
from contextlib import contextmanager
from pathlib import Path

import typer
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

from flowdecode.cli.output import remark

__all__ = ["Bar", "progress", "resumable"]


class Bar:
    """A bar with the time that is left."""

    def __init__(self, progress: Progress, title: str) -> None:
        self._progress = progress
        self._task = progress.add_task(title, total=None)

    def begin(self, total: int) -> None:
        """So much is to come."""
        self._progress.update(self._task, total=total)

    def done(self) -> None:
        """One of it is done."""
        self._progress.advance(self._task)


@contextmanager
def progress(title: str) -> Generator[Bar]:
    """A bar while something is under way."""
    columns = TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeRemainingColumn()
    with Progress(*columns, console=Console(stderr=True)) as shown:
        yield Bar(shown, title)


@contextmanager
def resumable(where: Path) -> Generator[None]:
    """Whoever stops what is within is told that it goes on from there; leaves with 130."""
    try:
        yield
    except KeyboardInterrupt:
        remark(f"Stopped. The same command goes on from here: what was done is in {where}.")
        raise typer.Exit(130) from None
