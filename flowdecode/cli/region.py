"""The bottom of a terminal, drawn again in place; what is printed meanwhile goes above it.

Rich's own Live counts the rows that it must go up again, and a window that was made narrower has more of
them than it counts. Here the cursor waits in the first row of the region, where a terminal keeps it through
every resize, so that clearing needs no count and never takes a row of the text above.
"""

from __future__ import annotations

import io
import sys
from collections.abc import Sequence
from contextlib import ExitStack, redirect_stderr
from types import TracebackType
from typing import Self

from rich.console import Console
from rich.text import Text

from flowdecode.cli.rows import visible

__all__ = ["Region"]

CLEAR_LINE, CLEAR_BELOW = "\r\x1b[K", "\x1b[J"
HIDE_CURSOR, SHOW_CURSOR = "\x1b[?25l", "\x1b[?25h"
WRAP_OFF, WRAP_ON = "\x1b[?7l", "\x1b[?7h"
"""A row whose characters a terminal draws wider than Unicode says must not become two."""
BEGIN, END = "\x1b[?2026h", "\x1b[?2026l"
"""Between them a terminal shows nothing new: what is half drawn is not seen."""


class Region:
    """Lines at the bottom of a terminal, for `with`: leaving it takes them away and shows the cursor again.

    What goes to standard error meanwhile is printed above too, if that is the terminal.
    """

    def __init__(self, console: Console) -> None:
        self._console = console
        self._above: list[Text] = []
        self._errors = _Lines(self)
        self._redirected = ExitStack()

    @property
    def width(self) -> int:
        """Columns that may be written to: a character in the last one might wrap."""
        return max(1, self._console.width - 1)

    @property
    def height(self) -> int:
        """Rows that may be drawn."""
        return max(1, self._console.height - 1)

    def __enter__(self) -> Self:
        if sys.stderr.isatty():
            self._redirected.enter_context(redirect_stderr(self._errors))
        self._write(HIDE_CURSOR)
        return self

    def __exit__(
        self,
        exc_type: type[BaseException] | None,
        exc: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self._redirected.close()
        self._errors.end()
        self._write("\r", CLEAR_BELOW, self._taken(), SHOW_CURSOR)

    def print(self, *rows: Text) -> None:
        """Print rows above the region, when it is drawn next or left."""
        self._above += rows

    def draw(self, lines: Sequence[Text]) -> None:
        """Draw lines, each in one row; those that don't fit into the terminal are left out."""
        rows = self._rendered(lines[: self.height])
        drawn = "\n".join([CLEAR_LINE + row for row in rows])
        up = f"\x1b[{len(rows) - 1}A" if len(rows) > 1 else ""
        self._write(BEGIN, self._taken(), WRAP_OFF, drawn, CLEAR_BELOW, WRAP_ON, up, "\r", END)

    def _taken(self) -> str:
        """What is to be printed above; it takes the place of the old region."""
        above, self._above = self._above, []
        rows = self._rendered(above)
        return f"\r{CLEAR_BELOW}" + "".join([f"{row}\n" for row in rows]) if rows else ""

    def _rendered(self, rows: Sequence[Text]) -> list[str]:
        """Rows as a terminal is sent them."""
        if not rows:
            return []
        with self._console.capture() as capture:
            self._console.print(Text("\n").join(rows), no_wrap=True, overflow="ignore", crop=False, end="")
        return capture.get().split("\n")

    def _write(self, *parts: str) -> None:
        """At once: a terminal that is written to in pieces flickers."""
        self._console.file.write("".join(parts))
        self._console.file.flush()


class _Lines(io.TextIOBase):
    """Takes the place of standard error: whole lines are printed above the region."""

    def __init__(self, region: Region) -> None:
        self._region = region
        self._rest = ""

    def write(self, text: str, /) -> int:
        *lines, self._rest = (self._rest + text).split("\n")
        for line in lines:
            self._region.print(Text(visible(line)))
        return len(text)

    def end(self) -> None:
        """Print the last line too, which has no end yet."""
        if self._rest:
            self.write("\n")
