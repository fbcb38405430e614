"""Tables: drawn by Rich, plain where there is no terminal."""

from __future__ import annotations

import sys
from collections.abc import Iterable

from rich.console import Console
from rich.table import Column, Table
from rich.text import Text

__all__ = ["print_table"]

UNLIMITED = 10_000
"""The width where no terminal limits it: a row is a line, for `grep` and the like."""


def print_table(header: Iterable[Column | str], rows: Iterable[Iterable[str]]) -> None:
    """Print rows of literal text under a header."""
    table = Table(*header, box=None, pad_edge=False, padding=(0, 2, 0, 0))
    for row in rows:
        table.add_row(*(Text(cell, overflow="fold") for cell in row))
    Console(width=None if sys.stdout.isatty() else UNLIMITED).print(table)
