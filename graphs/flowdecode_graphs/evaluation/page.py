"""The report as one page of HTML: no script, nothing loaded."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from functools import cache
from importlib.resources import files

from flowdecode.result import Result
from flowdecode.timeline.bars import chart
from flowdecode.timeline.markup import Markup, element, join
from flowdecode.timeline.page import POLICY
from flowdecode.timeline.parts import scrolled, seconds
from flowdecode_graphs.evaluation.answers import Answered
from flowdecode_graphs.evaluation.charts import Bar, Point, bars, distributions, frontier
from flowdecode_graphs.evaluation.estimates import Estimate
from flowdecode_graphs.evaluation.figures import Cell, Table, facts, tables
from flowdecode_graphs.evaluation.measures import MEASURES
from flowdecode_graphs.evaluation.summary import Extreme, Summary
from flowdecode_graphs.evaluation.variants import ABLATIONS, BASELINE

__all__ = ["to_page"]

CHARTED = ("actual_speedup", "score")
"""Measures with bars by category."""

Results = Mapping[tuple[str, str, int], Result]


def to_page(summary: Summary, answers: Iterable[Answered]) -> str:
    """The whole page; write it as UTF-8."""
    results = {(each.item, each.variant, each.repeat): each.result for each in answers if each.result}
    headline = _headline(summary)
    sections = list(_sections(summary, results))
    links = [element("a", title, href=f"#{_anchor(title)}") for title, _ in sections]
    head = element(
        "head",
        element("meta", charset="utf-8"),
        element("meta", http_equiv="Content-Security-Policy", content=POLICY),
        element("meta", name="viewport", content="width=device-width, initial-scale=1"),
        element("meta", name="color-scheme", content="light dark"),
        element("title", f"{headline} - flowdecode bench"),
        element("style", _style()),
    )
    told = [element("div", element("dt", name), element("dd", value)) for name, value in facts(summary)]
    header = element(
        "header",
        element("p", "flowdecode bench", class_="brand"),
        element("h1", headline),
        element(
            "p",
            "Figures are means over prompts, geometric ones of ratios and times; below them and as thin "
            "lines the 95 % confidence interval, by bootstrap over prompts.",
            class_="of",
        ),
        element("nav", *links, aria_label="Sections"),
    )
    main = element("main", *[content for _, content in sections])
    footer = element("footer", element("h2", "What was measured"), element("dl", *told, class_="facts"))
    body = element("body", header, main, footer, class_="bench")
    return f"<!DOCTYPE html>\n{element('html', head, body, lang='en')}\n"


def _headline(summary: Summary) -> str:
    """The fastest strategy as it is, in words."""
    speedups = {
        row.variant: row.measures["actual_speedup"]
        for row in summary.rows
        if row.category is None and row.variant not in ABLATIONS and row.variant != BASELINE
        if "actual_speedup" in row.measures
    }
    if not speedups:
        return "Nothing to compare yet"
    name = max(speedups, key=lambda name: speedups[name].value)
    return f"{name} answers {speedups[name].value:.2f}x as fast as sequential"


def _sections(summary: Summary, results: Results) -> Iterator[tuple[str, Markup]]:
    numbers = {name: place for place, name in enumerate(summary.variants, start=1)}
    if drawn := _frontier(summary, numbers):
        yield drawn
    for table in tables(summary):
        pictures: list[Markup] = []
        if table.title == "Speed" and summary.speedups:
            pictures.append(element("h3", "Actual speedup of every run"))
            rows = [(name, numbers[name], list(values)) for name, values in summary.speedups.items()]
            pictures.append(distributions(rows))
        charted = next((n for n in CHARTED if table.title == f"{MEASURES[n].title} by category"), None)
        if charted is not None:
            pictures.append(_bars(summary, charted, numbers))
        yield table.title, _section(table.title, table.says, _table(table), *pictures)
    for title, extremes in (("Best prompts", summary.best), ("Worst prompts", summary.worst)):
        if extremes:
            content = [_extreme(extreme, results, f"{title[0]}{n}") for n, extreme in enumerate(extremes)]
            yield (
                title,
                _section(
                    title,
                    "By actual speedup, beside the sequential run of the prompt, on one axis of seconds. "
                    "Open a node to see its figures and its text.",
                    *content,
                ),
            )


def _frontier(summary: Summary, numbers: Mapping[str, int]) -> tuple[str, Markup] | None:
    """Quality is the exact score where there is one, else the net win rate by the judge."""
    rows = [row for row in summary.rows if row.category is None]
    scored = any("score" in row.measures for row in rows)
    wins = {each.variant: each.net_win_rate for each in summary.qualities}
    if not scored and not wins:
        return None
    points: list[Point] = []
    for row in rows:
        y = row.measures.get("score") if scored else wins.get(row.variant)
        if not scored and row.variant == BASELINE:
            y = Estimate(0.0, 0.0, 0.0, row.runs)
        if y is not None and "actual_speedup" in row.measures:
            points.append(Point(row.variant, numbers[row.variant], row.measures["actual_speedup"], y))
    if not points:
        return None
    y_title, unit = ("Exact score", "") if scored else ("Net win rate", "%")
    drawn = frontier(points, "Actual speedup", y_title, "x", unit)
    says = "Upwards is better, to the right is faster. The line joins those that no other one beats in both."
    return "Quality and speed", _section("Quality and speed", says, drawn)


def _bars(summary: Summary, name: str, numbers: Mapping[str, int]) -> Markup:
    groups: list[tuple[str, list[Bar]]] = []
    for category in summary.categories:
        own: list[Bar] = []
        for variant in summary.variants:
            row = None if variant in ABLATIONS else summary.row(variant, category)
            # The sequential run beside itself is 1x everywhere.
            if row and name in row.measures and (variant != BASELINE or MEASURES[name].unit != "x"):
                own.append(Bar(variant, numbers[variant], row.measures[name]))
        if own:
            groups.append((category, own))
    return bars(groups, MEASURES[name].unit)


def _table(table: Table) -> Markup:
    head = [
        element("th", name, scope="col", class_=None if place < table.labels else "number")
        for place, name in enumerate(table.header)
    ]
    rows = [
        element(
            "tr",
            element("th", row[0].value, scope="row"),
            *[_cell(cell, words=place < table.labels) for place, cell in enumerate(row[1:], start=1)],
        )
        for row in table.rows
    ]
    drawn = element("table", element("thead", element("tr", *head)), element("tbody", *rows))
    terms = [element("div", element("dt", name), element("dd", says)) for name, says in table.terms]
    return join(
        scrolled(drawn, "table", table.title), *([element("dl", *terms, class_="terms")] if terms else [])
    )


def _cell(cell: Cell, *, words: bool) -> Markup:
    interval = [element("small", cell.interval)] if cell.interval else []
    kind = f"words{' long' * (len(cell.value) > 20)}" if words else "number"
    return element("td", cell.value, *interval, class_=kind)


def _extreme(extreme: Extreme, results: Results, name: str) -> Markup:
    """Both runs of a prompt, side by side."""
    names = (BASELINE, extreme.variant)
    runs = [(each, results[extreme.item, each, extreme.repeat]) for each in names]
    longest = max(result.duration for _, result in runs)
    charts = [
        element(
            "div",
            element("h4", f"{label}, {seconds(result.duration)}, {result.work:,} tokens"),
            chart(result, until=longest, name=f"{name}-{label}"),
        )
        for label, result in runs
    ]
    of = f" · {extreme.category}" if extreme.category else ""
    return element(
        "article",
        element("h3", f"{extreme.speedup:.2f}x by {extreme.variant}{of}"),
        element("p", extreme.prompt, class_="prompt", lang=""),
        element("div", *charts, class_="beside"),
    )


def _section(title: str, says: str, *content: Markup) -> Markup:
    name = _anchor(title)
    return element(
        "section",
        element("h2", title, id=f"{name}-title"),
        element("p", says),
        *content,
        id=name,
        aria_labelledby=f"{name}-title",
    )


def _anchor(title: str) -> str:
    return title.lower().replace(" ", "-")


@cache
def _style() -> Markup:
    """The timeline's own, as its charts are here, and what only the report has."""
    sheets = [files("flowdecode.timeline") / "page.css", files("flowdecode_graphs.evaluation") / "page.css"]
    return Markup("".join(sheet.read_text(encoding="utf-8") for sheet in sheets))
