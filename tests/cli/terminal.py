"""A terminal in memory, as far as the live view needs one; anything else that it is sent is an error."""

from __future__ import annotations

import re

from rich.cells import cell_len

__all__ = ["Terminal"]

SEQUENCE = re.compile(r"\x1b\[(\??)([\d;]*)([A-Za-z])|(.)", re.DOTALL)

BEGUN = re.compile(r"\x1b(\[\??[\d;]*)?\Z")


class Terminal:
    """A screen with all that scrolled off its top; a double-width character takes two cells."""

    def __init__(self, width: int, height: int) -> None:
        self.width = width
        self.height = height
        self.rows: list[list[str]] = [[]]
        """All rows from the first one on; the last `height` of them are the screen."""
        self.row = 0
        self.column = 0
        self.cursor_shown = True
        self.wraps = True
        self._begun = ""
        """A sequence whose end has not come yet."""

    def write(self, text: str) -> None:
        """Take what a program writes."""
        text = self._begun + text
        begun = BEGUN.search(text)
        self._begun = begun[0] if begun else ""
        text = text.removesuffix(self._begun)
        for question, number, command, character in SEQUENCE.findall(text):
            if command:
                self._command(question + command, number)
            elif character == "\r":
                self.column = 0
            elif character == "\n":
                self._line_feed()
                self.column = 0
            else:
                assert character >= " ", f"an unexpected {character!r}"
                self._put(character)

    @property
    def lines(self) -> list[str]:
        """The text of all rows, without blanks at their ends."""
        return ["".join(row).rstrip() for row in self.rows]

    @property
    def text(self) -> str:
        return "\n".join(self.lines).rstrip("\n")

    def _command(self, command: str, number: str) -> None:
        match command, number:
            case "m", _:
                pass
            case "A", _:
                top = max(0, len(self.rows) - self.height)
                self.row = max(top, self.row - int(number or 1))
            case "K", "":
                del self.rows[self.row][self.column :]
            case "J", "":
                del self.rows[self.row][self.column :]
                for row in self.rows[self.row + 1 :]:
                    row.clear()
            case (("?h" | "?l"), "25"):
                self.cursor_shown = command == "?h"
            case (("?h" | "?l"), "7"):
                self.wraps = command == "?h"
            case (("?h" | "?l"), "2026"):
                pass
            case _:
                raise AssertionError(f"an unexpected sequence {number}{command}")

    def _line_feed(self) -> None:
        self.row += 1
        if self.row == len(self.rows):
            self.rows.append([])

    def _put(self, character: str) -> None:
        cells = cell_len(character)
        if not cells:
            return  # drawn onto the character before it
        if self.column + cells > self.width:
            if not self.wraps:
                return
            self._line_feed()
            self.column = 0
        row = self.rows[self.row]
        row += [" "] * (self.column - len(row))
        row[self.column : self.column + cells] = [character, *[""] * (cells - 1)]
        self.column += cells
