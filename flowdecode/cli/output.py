"""What is printed: text and JSON to standard output, remarks to standard error."""

from __future__ import annotations

import json
import shutil
import sys
import textwrap
from collections.abc import Generator
from contextlib import contextmanager

import msgspec
import typer

__all__ = ["announced", "remark", "write", "write_json"]


@contextmanager
def announced(what: str) -> Generator[None]:
    """Say in a terminal what takes a moment, until it is over."""
    shown = sys.stderr.isatty()
    if shown:
        typer.echo(f"{what}\r", err=True, nl=False)
    try:
        yield
    finally:
        if shown:
            typer.echo(f"{' ' * len(what)}\r", err=True, nl=False)


def write(text: str) -> None:
    """Print `text` as it is, at once."""
    sys.stdout.write(text)
    sys.stdout.flush()


def write_json(value: object) -> None:
    """Print Structs and the like as one line of JSON, in ASCII, which every terminal and pipe takes."""
    write(json.dumps(msgspec.to_builtins(value, str_keys=True)) + "\n")


def remark(text: str) -> None:
    """Print `text` to standard error, in one line; in a terminal, in as many as it takes."""
    text = " ".join(text.split())
    if sys.stderr.isatty():
        columns = shutil.get_terminal_size().columns
        text = textwrap.fill(text, max(20, columns - 1), break_long_words=False, break_on_hyphens=False)
    typer.echo(text, err=True)
