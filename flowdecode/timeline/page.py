"""The page: its sections, each made of the result alone."""

from __future__ import annotations

from collections.abc import Iterator
from functools import cache
from importlib.resources import files

from flowdecode.result import Result
from flowdecode.timeline.bars import bars
from flowdecode.timeline.drawing import graph
from flowdecode.timeline.markup import Markup, element, join
from flowdecode.timeline.parts import label, nothing, scrolled, seconds, section
from flowdecode.timeline.phases import PHASES, phases_of

__all__ = ["to_html"]

POLICY = "default-src 'none'; style-src 'unsafe-inline'; base-uri 'none'; form-action 'none'"
"""Nothing is loaded and no script runs, whatever a model wrote."""


def to_html(result: Result) -> str:
    """The whole page; write it as UTF-8."""
    count = len(result.nodes)
    headline = f"{count:,} node{'' if count == 1 else 's'} in {seconds(result.duration)}"
    head = element(
        "head",
        element("meta", charset="utf-8"),
        element("meta", http_equiv="Content-Security-Policy", content=POLICY),
        element("meta", name="viewport", content="width=device-width, initial-scale=1"),
        element("meta", name="color-scheme", content="light dark"),
        element("title", f"{headline} - flowdecode"),
        element("style", _style()),
    )
    main = element("main", bars(result), graph(result), _answer(result), _table(result))
    body = element("body", _header(result, headline), main)
    return f"<!DOCTYPE html>\n{element('html', head, body, lang='en')}\n"


@cache
def _style() -> Markup:
    return Markup(files("flowdecode.timeline").joinpath("page.css").read_text(encoding="utf-8"))


def _header(result: Result, headline: str) -> Markup:
    of = [
        f"strategy {result.strategy}" if result.strategy else "a graph of one's own",
        f"model {result.model}",
        f"run {result.id}",
    ]
    links = [element("a", name, href=f"#{name.lower()}") for name in ("Timeline", "Graph", "Answer", "Table")]
    return element(
        "header",
        element("p", "flowdecode", class_="brand"),
        element("h1", headline),
        element("p", *_between([element("bdi", part) for part in of], " · "), class_="of"),
        *_notes(result),
        _figures(result),
        element("nav", *links, aria_label="Sections"),
    )


def _notes(result: Result) -> Iterator[Markup]:
    """What the reader must know of a run that did not go as planned."""
    if result.status != "done":
        yield element("p", element("b", "Status: "), result.status, class_="note")
    if result.fallback_reason:
        reason = element("bdi", result.fallback_reason)
        yield element("p", element("b", "Fell back: "), reason, class_="note")


def _figures(result: Result) -> Markup:
    usage = result.usage
    share = usage.cached_tokens / usage.prompt_tokens if usage.prompt_tokens else 0.0
    figures = [
        ("Wall time", seconds(result.duration), "from the prompt to the end"),
        ("Work", f"{result.work:,}", "tokens decoded for the answer"),
        ("Span", f"{result.span:,}", "tokens on the longest chain"),
        ("Parallelism", f"{result.parallelism:.2f}", "work over span"),
        ("Cached", f"{share:.0%}", f"{usage.cached_tokens:,} of {usage.prompt_tokens:,} prompt tokens"),
    ]
    if usage.wasted_tokens:
        figures.append(("Dropped", f"{usage.wasted_tokens:,}", "tokens decoded for nothing"))
    items = [
        element("div", element("dt", name), element("dd", element("b", value), element("span", what)))
        for name, value, what in figures
    ]
    return element("dl", *items, class_="figures")


def _answer(result: Result) -> Markup:
    if not result.text:
        return section("Answer", nothing())
    lines = [_line(line) for line in result.text.splitlines(keepends=True)]
    return section("Answer", element("div", *lines, class_="answer", lang=""))


def _line(line: str) -> str:
    """A line of the answer; of a heading, the marks are faint. The text as a whole stays as it is."""
    marks = len(line) - len(line.lstrip("#"))
    if not (1 <= marks <= 6 and line[marks : marks + 1] == " "):
        return line
    text = line.rstrip("\r\n")
    return join(
        element("strong", element("span", text[: marks + 1], class_="faint"), text[marks + 1 :]),
        line[len(text) :],
    )


def _table(result: Result) -> Markup:
    """The timeline once more, as figures."""
    phase_columns = [what.capitalize() for what in PHASES.values()]
    columns = ["Node", "Parents", "Status", "Tokens", "Cached", *phase_columns, "End"]
    rows: list[Markup] = []
    for node in result.nodes:
        phases = phases_of(node, result.duration)
        took = {phase.name: f"{phase.seconds:.3f}" for phase in phases}
        numbers = (
            f"{node.usage.completion_tokens:,}",
            f"{node.usage.cached_tokens:,}",
            *[took.get(name, "-") for name in PHASES],
            f"{phases[-1].end:.3f}" if phases else "-",
        )
        rows.append(
            element(
                "tr",
                element("th", label(node), scope="row"),
                element("td", ", ".join(node.parents) or "-"),
                element("td", f"{node.status}: {node.error}" if node.error else node.status),
                *[element("td", number, class_="number") for number in numbers],
            )
        )
    table = element(
        "table",
        element("caption", "Every node of the run; times are in seconds."),
        element("thead", element("tr", *[element("th", name, scope="col") for name in columns])),
        element("tbody", *rows),
    )
    return section("Table", scrolled(table, "table", "The table of nodes"))


def _between(parts: list[Markup], separator: str) -> Iterator[str]:
    for index, part in enumerate(parts):
        if index:
            yield separator
        yield part
