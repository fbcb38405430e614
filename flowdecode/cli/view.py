"""A run as it is drawn while it goes on: what is pending of its answer, and its graph."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass

from rich.text import Text

from flowdecode.cli.rows import cut, fit, visible
from flowdecode.events import (
    AnswerDelta,
    Event,
    NodeDelta,
    NodeFailed,
    NodeFinished,
    NodePlanned,
    NodeReady,
    NodeStarted,
    PlanDelta,
    RunFinished,
)
from flowdecode.result import NodeKind, NodeStatus, Result

__all__ = ["View"]

LOOKS: dict[NodeStatus, tuple[str, str, str, str]] = {
    "waiting": ("waiting", "·", ".", "dim"),
    "ready": ("queued", "○", "o", "dim"),
    "running": ("decoding", "●", ">", "cyan"),
    "done": ("done", "✓", "+", "green"),
    "truncated": ("cut short", "✓", "+", "yellow"),
    "failed": ("failed", "✗", "x", "red"),
    "skipped": ("skipped", "✗", "x", "red"),
    "cancelled": ("dropped", "-", "-", "dim"),
}
"""Of each status: its word, its mark, its mark where there is only ASCII, and its style."""

RANKS = {"running": 0, "ready": 1, "waiting": 2}
"""What is shown first where there is no room for all; what has ended comes last."""

STATE = max(len(word) for word, *_ in LOOKS.values())
TITLE = 30
"""Columns; a title has no fewer of them where there is a bar."""


@dataclass
class Row:
    """What is known of a node."""

    title: str
    kind: NodeKind
    parents: tuple[str, ...]
    expected: int | None
    status: NodeStatus = "waiting"
    tokens: int = 0
    """Pieces of text while it decodes, which are about a token each; exact once the result is there."""
    started: float = 0.0
    ended: float | None = None
    """Seconds since the run's start, both."""


class View:
    """Fed with events; says which rows of the answer are complete, and what is to be drawn below them."""

    def __init__(self, *, ascii_only: bool = False) -> None:
        self._ascii = ascii_only
        self._lines: list[str] = []
        """Lines of the answer that are complete, but not taken."""
        self._line = ""
        """The line that goes on, without the rows of it that were taken."""
        self._rows: dict[str, Row] = {}
        self._plan = ""
        self.ended: float | None = None
        """When the run came to its end, in seconds since its start."""

    def feed(self, event: Event) -> None:
        """Take in what happened."""
        match event:
            case AnswerDelta(text=text):
                *whole, self._line = (self._line + text).split("\n")
                self._lines += [line.removesuffix("\r") for line in whole]
            case NodeDelta(node_id=node):
                self._rows[node].tokens += 1
            case PlanDelta():
                self._rows[self._plan].tokens += 1
            case NodePlanned(node_id=node, kind=kind, title=title, parents=parents, expected_tokens=expected):
                self._rows[node] = Row(_title(node, title), kind, parents, expected)
                self._plan = node if kind == "plan" else self._plan
            case NodeReady(node_id=node):
                self._rows[node].status = "ready"
            case NodeStarted(at=at, node_id=node):
                self._rows[node].status = "running"
                self._rows[node].started = at
            case NodeFinished() | NodeFailed():
                self._rows[event.node_id].status = event.status
                self._rows[event.node_id].ended = event.at
            case RunFinished(at=at):
                self.ended = at
            case _:
                pass

    def settle(self, result: Result) -> None:
        """Take the exact figures of a run that has ended."""
        for record in result.nodes:
            self._rows[record.id].tokens = record.usage.completion_tokens

    def take(self, width: int) -> list[Text]:
        """The rows of the answer that are complete and were not taken before."""
        rows = [row for line in self._lines for row in cut(line, width)]
        *whole, self._line = cut(self._line, width)
        self._lines = []
        return [_styled(row) for row in [*rows, *whole]]

    def take_all(self, width: int) -> list[Text]:
        """The rest of the answer; its last row too."""
        if self._line:
            self._lines.append(self._line)
            self._line = ""
        return self.take(width)

    def draw(self, width: int, height: int, seconds: float) -> list[Text]:
        """The answer's last row, the graph and a line of figures, in so much room."""
        above = [_styled(self._line), Text()] if height > 3 else []
        graph = self.graph(width, min(height - 1 - len(above), max(4, height // 2)))
        figures = fit(self._figures(seconds), width, ascii_only=self._ascii)
        return [*above, *graph, Text(figures.rstrip(), "dim")]

    def graph(self, width: int, height: int) -> list[Text]:
        """A row for each node; where there are more of them than rows, those that matter most now."""
        ranked = sorted(
            enumerate(self._rows.values()),
            key=lambda numbered: (RANKS.get(numbered[1].status, 3), -(numbered[1].ended or 0.0), numbered[0]),
        )
        return [self._row(row, width) for _, row in sorted(ranked[:height], key=lambda numbered: numbered[0])]

    def _row(self, row: Row, width: int) -> Text:
        word, mark, plain_mark, style = LOOKS[row.status]
        if row.status == "running" and row.kind != "decode":
            word = "planning" if row.kind == "plan" else "running"
        room = width - 2 - 8 - STATE
        bar = min(60, room - TITLE - 2) if room > TITLE + 15 else 0
        title = room - bar - 2 * (bar > 0)
        text = Text().append(f"{plain_mark if self._ascii else mark} ", style)
        text.append(fit(row.title, max(1, title), ascii_only=self._ascii), "dim" if style == "dim" else "")
        if bar:
            text.append("  ").append(self._bar(row, bar), style)
        tokens = "" if row.kind == "call" else f"{row.tokens:,}" if row.tokens else ""
        return text.append(f"{tokens:>6}  ").append(word, style)

    def _bar(self, row: Row, width: int) -> str:
        """How far a decode has come, or what a node waits for; when all has ended, when it ran."""
        whole, rest = ("=", "-") if self._ascii else ("━", "─")
        if row.status == "waiting" and row.parents:
            return fit(f"after {', '.join(row.parents)}", width, ascii_only=self._ascii)
        if self.ended and row.ended is not None and row.tokens:
            left, right = (min(width, round(at / self.ended * width)) for at in (row.started, row.ended))
            left = min(left, width - 1)
            return f"{' ' * left}{whole * max(1, right - left)}".ljust(width)
        if not row.tokens or not row.expected:
            return " " * width
        share = 1.0 if row.status == "done" else min(row.tokens / row.expected, 1.0)
        full = round(share * width)
        return f"{whole * full}{rest * (width - full)}"

    def _figures(self, seconds: float) -> str:
        """The counts of all nodes, shown or not."""
        counts = Counter(LOOKS[row.status][0] for row in self._rows.values())
        nodes = ", ".join(f"{counts[word]} {word}" for word, *_ in LOOKS.values() if counts[word])
        tokens = sum(row.tokens for row in self._rows.values())
        return f"{seconds:.1f} s, {tokens:,} tokens, {nodes}" if nodes else f"{seconds:.1f} s"


def _title(node_id: str, title: str) -> str:
    return f"{node_id} {title}" if title and node_id.isdecimal() else title or node_id


def _styled(row: str) -> Text:
    return Text(visible(row).rstrip().expandtabs(), "bold" if row.startswith("#") else "")
