"""A line of text as rows of a terminal."""

from __future__ import annotations

import re

from rich.cells import cell_len, chop_cells, set_cell_size

__all__ = ["cut", "fit", "visible"]

_PICTURES = {
    **{code: 0x2400 + code for code in range(0x20) if chr(code) not in "\t\n"},
    0x7F: 0x2421,
    **dict.fromkeys(range(0x80, 0xA0), 0xFFFD),
}


def visible(text: str) -> str:
    """The text with a picture of every control character, so that none of them moves the cursor."""
    return text.replace("\r\n", "\n").translate(_PICTURES)


def cut(line: str, width: int) -> list[str]:
    """The rows of a line, broken between words; joined they are the line.

    When text is added to a line, all of its rows but the last one stay as they are.
    """
    rows = [""]
    free = width
    for word in re.findall(r"\S+\s*|\s+", line):
        size = cell_len(word.rstrip())
        if size > free and rows[-1]:
            rows.append("")
            free = width
        *whole, last = chop_cells(word, width) if size > width else [word]
        for piece in whole:
            rows[-1] += piece
            rows.append("")
            free = width
        rows[-1] += last
        free -= cell_len(last)
    return rows


def fit(text: str, width: int, *, ascii_only: bool = False) -> str:
    """The text in exactly so many columns; an ellipsis stands for what has no room."""
    text = " ".join(visible(text).split())
    if cell_len(text) > width:
        ellipsis = "..." if ascii_only else "…"
        text = set_cell_size(text, max(0, width - len(ellipsis))) + ellipsis[:width]
    return set_cell_size(text, width)
