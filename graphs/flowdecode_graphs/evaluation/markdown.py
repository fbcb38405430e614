"""The numbers as Markdown."""

from __future__ import annotations

import re
from collections.abc import Iterable

from flowdecode_graphs.evaluation.figures import Cell, Table, facts, tables
from flowdecode_graphs.evaluation.summary import Extreme, Summary

__all__ = ["to_markdown"]


def to_markdown(summary: Summary) -> str:
    """The whole report without its pictures."""
    parts = ["# Benchmark", "\n".join(f"- {name}: {_plain(value)}" for name, value in facts(summary))]
    parts += [_table(table) for table in tables(summary)]
    for title, extremes in (("Best", summary.best), ("Worst", summary.worst)):
        if extremes:
            parts.append(f"## {title} prompts\n\n" + "\n".join(map(_extreme, extremes)))
    parts.append(
        "Figures are means over prompts, geometric ones of ratios and times; in brackets the 95 % "
        "confidence interval, by bootstrap over prompts."
    )
    return "\n\n".join(parts) + "\n"


def _table(table: Table) -> str:
    ruler = ["---" if place < table.labels else "---:" for place in range(len(table.header))]
    rows = [_row(map(Cell, table.header)), f"| {' | '.join(ruler)} |", *map(_row, table.rows)]
    terms = [f"- {name}: {_plain(says)}" for name, says in table.terms]
    parts = [f"## {table.title}", table.says, "\n".join(rows), "\n".join(terms)]
    return "\n\n".join(part for part in parts if part)


def _row(cells: Iterable[Cell]) -> str:
    return f"| {' | '.join(_plain(str(cell)) for cell in cells)} |"


def _extreme(extreme: Extreme) -> str:
    prompt = extreme.prompt if len(extreme.prompt) <= 100 else f"{extreme.prompt[:99]}…"
    return f"- {extreme.speedup:.2f}x by {extreme.variant}: {_plain(prompt)}"


def _plain(text: str) -> str:
    """Text on one line, of which nothing is markup."""
    return re.sub(r"([\\`*_\[\]<>|#])", r"\\\1", " ".join(text.split()))
