"""How figures are written, in every form of the report: the tables as rows of text."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

from flowdecode_graphs.evaluation.estimates import Estimate
from flowdecode_graphs.evaluation.measures import MEASURES
from flowdecode_graphs.evaluation.router import ROUTE
from flowdecode_graphs.evaluation.summary import Summary
from flowdecode_graphs.evaluation.variants import ABLATIONS

__all__ = ["Cell", "Table", "facts", "tables", "written"]

SPEED = ("actual_speedup", "theoretical_speedup", "duration", "first_text", "first_part", "throughput")
COST = ("parallelism", "parallel", "span", "token_overhead", "prefilled", "cached", "new", "reused")
ANSWERS = ("score", "repetition", "well_formed")
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
    terms: tuple[tuple[str, str], ...] = ()
    """Columns, and what they say."""


def written(estimate: Estimate | None, unit: str = "", decimals: int = 2) -> Cell:
    """An estimate with its confidence interval, which one prompt can't give; `%` is of a share."""
    if estimate is None:
        return Cell("-")
    scale, end = (100, " %") if unit == "%" else (1, "x" if unit == "x" else f" {unit}" if unit else "")
    places = 0 if unit == "%" else decimals
    value, low, high = (
        f"{scale * each:,.{places}f}" for each in (estimate.value, estimate.low, estimate.high)
    )
    return Cell(value + end, f"{low} to {high}" if estimate.count > 1 else "")


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
        says,
        ("Variant", *[MEASURES[name].title for name in names]),
        tuple((Cell(row.variant), *[_cell(row.measures.get(name), name) for name in names]) for row in rows)
        if names
        else (),
        terms=_terms(names),
    )


def _by_category(summary: Summary, name: str) -> Table:
    """Of the strategies as they are."""
    rows: list[tuple[Cell, ...]] = []
    variants = [name for name in summary.variants if name not in ABLATIONS]
    for category in summary.categories:
        found = [summary.row(variant, category) for variant in variants]
        if any(row and name in row.measures for row in found):
            rows.append(
                (Cell(category), *[_cell(row.measures.get(name) if row else None, name) for row in found])
            )
    measure = MEASURES[name]
    says = f"{measure.says[0].upper()}{measure.says[1:]}."
    return Table(f"{measure.title} by category", says, ("Category", *variants), tuple(rows))


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
            _share(each.length_controlled_win_rate),
        )
        for each in summary.qualities
    ]
    return Table(
        "Quality",
        "Against the sequential answer to the same prompt. A judge reads both orders; where these do not "
        "agree it is a tie.",
        (
            "Variant", "Verdict by", "Wins", "Losses", "Ties", "Orders disagree", "Unreadable", "Win rate",
            "Net win rate", "Length-controlled",
        ),
        tuple(rows),
        labels=2,
        terms=(
            ("Win rate", "a tie is half a win"),
            ("Net win rate", "wins less losses, over all"),
            ("Length-controlled", "the win rate, were both answers of one length: AlpacaEval 2's regression"),
        ),
    )  # fmt: skip


def _ablations(summary: Summary) -> Table:
    rows = [
        (
            Cell(each.variant),
            Cell(f"{each.of} without {each.without}"),
            Cell(each.claim or "-"),
            written(each.speedup, "x"),
            written(each.prefill, "x"),
            written(each.new, "x"),
            written(each.score, "", 3),
        )
        for each in summary.ablations
    ]
    return Table(
        "Ablations",
        "What an idea brings: a run without it over the same one with it. Above 1x, it helps.",
        ("Variant", "What it is", "The paper says", "Wall time", "Prefilled", "New to the run", "Score"),
        tuple(rows),
        labels=3,
        terms=(
            ("Prefilled", "prompt tokens that the engine had not cached, from other runs neither"),
            ("New to the run", "prompt tokens that the run itself had not sent or decoded before"),
            ("Score", "the exact score with it less that without it"),
        ),
    )


def _routers(summary: Summary) -> Table:
    rows = [
        (
            Cell("the A/B/C question" if each.router == ROUTE else each.router),
            written(each.agreement, "%"),
            _share(each.chance),
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
        "How often it chose as the labels say, and what a choice against the label costs.",
        (
            "Router", "Agrees", "By chance", "Kappa", "Right: parallel", "Right: plain", "Wrong: parallel",
            "Wrong: plain", "Slowdown when wrong", "Score lost",
        ),
        tuple(rows),
        terms=(
            ("By chance", "the agreement of one who chooses parallel as often, and blindly"),
            ("Kappa", "Cohen's: 0 is chance, 1 is all right"),
            ("Slowdown when wrong", "wall time of the way chosen over that of the other one"),
            ("Score lost", "when wrong: the exact score of the other way less that of the one chosen"),
        ),
    )  # fmt: skip


def _share(value: float | None) -> Cell:
    return Cell("-" if value is None else f"{100 * value:.0f} %")


def _cell(estimate: Estimate | None, name: str) -> Cell:
    return written(estimate, MEASURES[name].unit, MEASURES[name].decimals)


def _terms(names: Sequence[str]) -> tuple[tuple[str, str], ...]:
    return tuple((MEASURES[name].title, MEASURES[name].says) for name in names)
