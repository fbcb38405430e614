"""How figures are written, in every form of the report: the tables as rows of text."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

from flowdecode_graphs.evaluation.estimates import Estimate
from flowdecode_graphs.evaluation.measures import MEASURES
from flowdecode_graphs.evaluation.router import ROUTE
from flowdecode_graphs.evaluation.summary import Summary

__all__ = ["Cell", "Table", "facts", "tables", "written"]

SPEED = ("actual_speedup", "theoretical_speedup", "duration", "first_text", "first_part", "throughput")
COST = ("parallelism", "parallel", "span", "token_overhead", "prefilled", "cached", "reused")
ANSWERS = ("score", "repetition")
BY_CATEGORY = ("actual_speedup", "theoretical_speedup", "parallel", "score")


class Cell(NamedTuple):
    """A figure, and the interval that it may be in."""

    value: str
    interval: str = ""

    def __str__(self) -> str:
        return f"{self.value} ({self.interval})" if self.interval else self.value


class Table(NamedTuple):
    """A table under its heading; the first `labels` columns are words."""

    title: str
    says: str
    header: tuple[str, ...]
    rows: tuple[tuple[Cell, ...], ...]
    labels: int = 1


def written(estimate: Estimate | None, unit: str = "", decimals: int = 2) -> Cell:
    """An estimate with its confidence interval; `%` is of a share."""
    if estimate is None:
        return Cell("-")
    scale, end = (100, " %") if unit == "%" else (1, "x" if unit == "x" else f" {unit}" if unit else "")
    places = 0 if unit == "%" else decimals
    value, low, high = (f"{scale * each:,.{places}f}" for each in (estimate.value, estimate.low, estimate.high))
    return Cell(value + end, f"{low} to {high}")


def facts(summary: Summary) -> list[tuple[str, str]]:
    """What was measured, and where."""
    manifest, settings = summary.manifest, summary.manifest.settings
    told = [
        ("Model", ", ".join(summary.models) or "-"),
        ("Engine", settings.backend),
        ("Prompts", f"{len(manifest.items):,} of {manifest.source}"),
        ("Answers", f"{summary.answers:,}, each prompt {_times(manifest.repeat)}"),
        ("Runs at once", f"{settings.concurrency:,}"),
        ("Tokens of an answer", f"at most {settings.max_tokens:,}" if settings.max_tokens else "no limit"),
        ("Temperature", "the model's own" if settings.temperature is None else f"{settings.temperature:g}"),
        ("Machine", manifest.machine),
        ("Time", f"{manifest.started} to {summary.finished}"),
    ]
    if summary.failed:
        told.append(("Failed runs", ", ".join(f"{n:,} of {name}" for name, n in summary.failed.items())))
    return told


def tables(summary: Summary) -> list[Table]:
    """All tables that have something in them."""
    found = [
        _measured(summary, "Speed", "How soon the answer is there, beside the sequential one.", SPEED),
        _measured(summary, "Cost", "What is decoded and prefilled for it, a run.", COST),
        _measured(summary, "Answers", "What can be said of the answers without a judge.", ANSWERS),
        _quality(summary),
        *[_by_category(summary, name) for name in BY_CATEGORY],
        _ablations(summary),
        _routers(summary),
    ]
    return [table for table in found if table.rows]


def _times(count: int) -> str:
    return {1: "once", 2: "twice"}.get(count, f"{count:,} times")


def _measured(summary: Summary, title: str, says: str, names: Sequence[str]) -> Table:
    rows = [row for row in summary.rows if row.category is None]
    names = [name for name in names if any(name in row.measures for row in rows)]
    return Table(
        title,
        f"{says} {_legend(names)}",
        ("Variant", *[MEASURES[name].title for name in names]),
        tuple(
            (Cell(row.variant), *[_cell(row.measures.get(name), name) for name in names]) for row in rows
        )
        if names
        else (),
    )


def _by_category(summary: Summary, name: str) -> Table:
    rows: list[tuple[Cell, ...]] = []
    for category in summary.categories:
        found = [summary.row(variant, category) for variant in summary.variants]
        if any(row and name in row.measures for row in found):
            rows.append(
                (Cell(category), *[_cell(row.measures.get(name) if row else None, name) for row in found])
            )
    title = MEASURES[name].title
    return Table(
        f"{title} by category", _legend([name]), ("Category", *summary.variants), tuple(rows)
    )


def _quality(summary: Summary) -> Table:
    rows = [
        (
            Cell(each.variant),
            Cell(each.source),
            Cell(f"{each.wins:,}"),
            Cell(f"{each.losses:,}"),
            Cell(f"{each.ties:,}"),
            Cell(f"{each.disagreements:,}"),
            Cell(f"{each.unreadable:,}"),
            written(each.win_rate, "%"),
            written(each.net_win_rate, "%"),
            Cell("-" if each.length_controlled_win_rate is None else f"{each.length_controlled_win_rate:.0%}"),
        )
        for each in summary.qualities
    ]
    return Table(
        "Quality",
        "Against the sequential answer to the same prompt. A judge reads both orders; where these do not "
        "agree it is a tie. A tie is half a win; the net win rate is wins less losses over all. "
        "Length-controlled: the win rate were both answers of one length (AlpacaEval 2's regression, from "
        "20 verdicts on).",
        (
            "Variant", "Verdict by", "Wins", "Losses", "Ties", "Orders disagree", "Unreadable", "Win rate",
            "Net win rate", "Length-controlled",
        ),
        tuple(rows),
        labels=2,
    )  # fmt: skip


def _ablations(summary: Summary) -> Table:
    rows = [
        (
            Cell(each.variant),
            Cell(f"{each.of} without {each.without}"),
            written(each.speedup, "x"),
            written(each.prefill, "x"),
            written(each.score, "", 3),
            Cell(each.claim or "-"),
        )
        for each in summary.ablations
    ]
    return Table(
        "Ablations",
        "What an idea brings: wall time and prefilled tokens without it over those with it (above 1x: it "
        "helps), and the exact score with it less that without.",
        ("Variant", "What it is", "Wall time", "Prefilled", "Score", "The paper says"),
        tuple(rows),
        labels=2,
    )


def _routers(summary: Summary) -> Table:
    rows = [
        (
            Cell("the A/B/C question" if each.router == ROUTE else each.router),
            written(each.agreement, "%"),
            Cell(f"{each.chance:.0%}"),
            Cell("-" if each.kappa is None else f"{each.kappa:.2f}"),
            Cell(f"{each.right_parallel:,}"),
            Cell(f"{each.right_sequential:,}"),
            Cell(f"{each.wrong_parallel:,}"),
            Cell(f"{each.wrong_sequential:,}"),
            written(each.slowdown, "x"),
            written(each.quality_lost, "", 3),
        )
        for each in summary.routings
    ]
    return Table(
        "Router",
        "How often it chose as the labels say, beside one who chooses blindly. What a choice against the "
        "label costs: the wall time of the way chosen over that of the other (below 1x the label was wrong "
        "about speed), and the exact score that was lost.",
        (
            "Router", "Agrees", "By chance", "Kappa", "Right: parallel", "Right: plain", "Wrong: parallel",
            "Wrong: plain", "Slowdown when wrong", "Score lost",
        ),
        tuple(rows),
    )  # fmt: skip


def _cell(estimate: Estimate | None, name: str) -> Cell:
    return written(estimate, MEASURES[name].unit, MEASURES[name].decimals)


def _legend(names: Sequence[str]) -> str:
    return " ".join(f"{MEASURES[name].title}: {MEASURES[name].says}." for name in names)
