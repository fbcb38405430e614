"""The page: its sections, each made of the result alone."""

from __future__ import annotations

import math
from collections.abc import Iterator
from functools import cache
from importlib.resources import files

from flowdecode.result import NodeRecord, Result
from flowdecode.timeline.layers import layers_of
from flowdecode.timeline.markup import Markup, element, join
from flowdecode.timeline.phases import PHASES, Phase, critical_path, phases_of

__all__ = ["to_html"]

POLICY = "default-src 'none'; style-src 'unsafe-inline'; base-uri 'none'; form-action 'none'"
"""Nothing is loaded and no script runs, whatever a model wrote."""

LOST = ("failed", "skipped", "cancelled")
"""How a node ends that has no output."""

BOX_WIDTH, BOX_HEIGHT, GAP_X, GAP_Y = 196, 72, 52, 16
"""Pixels of a node in the drawing of the graph, and of the room between two."""

TALL = 12
"""Nodes of a column that can be seen at once; shorter columns of a taller graph are not centred."""


def to_html(result: Result) -> str:
    """The whole page; write it as UTF-8."""
    headline = _headline(result)
    head = element(
        "head",
        element("meta", charset="utf-8"),
        element("meta", http_equiv="Content-Security-Policy", content=POLICY),
        element("meta", name="viewport", content="width=device-width, initial-scale=1"),
        element("meta", name="color-scheme", content="light dark"),
        element("title", f"{headline} - flowdecode"),
        element("style", _style()),
    )
    page = _Page(result)
    body = element(
        "body",
        page.header(headline),
        element("main", page.timeline(), page.graph(), page.answer(), page.table()),
    )
    return f"<!DOCTYPE html>\n{element('html', head, body, lang='en')}\n"


class _Page:
    """The sections of one result's page."""

    def __init__(self, result: Result) -> None:
        self.result = result
        self.nodes = result.nodes
        self.phases = [phases_of(node, result.duration) for node in self.nodes]
        self.critical = critical_path(self.nodes)
        ends = [phases[-1].end for phases in self.phases if phases]
        self.total = max([result.duration, *ends]) or 1.0
        """Seconds that the time axis shows."""
        self.bars = [self._visible(phases) for phases in self.phases]

    def _visible(self, phases: tuple[Phase, ...]) -> tuple[Phase, ...]:
        """Without what is too short to be seen, such as the microseconds until a node is sent."""
        return tuple([phase for phase in phases if phase.seconds >= self.total / 1000]) or phases[-1:]

    def header(self, headline: str) -> Markup:
        result, usage = self.result, self.result.usage
        share = usage.cached_tokens / usage.prompt_tokens if usage.prompt_tokens else 0.0
        figures = [
            ("Wall time", _seconds(result.duration), "from the prompt to the end"),
            ("Work", f"{result.work:,}", "tokens decoded for the answer"),
            ("Span", f"{result.span:,}", "tokens on the longest chain"),
            ("Parallelism", f"{result.parallelism:.2f}", "work over span"),
            ("Cached", f"{share:.0%}", f"{usage.cached_tokens:,} of {usage.prompt_tokens:,} prompt tokens"),
        ]
        if usage.wasted_tokens:
            figures.append(("Dropped", f"{usage.wasted_tokens:,}", "tokens decoded for nothing"))
        of = [f"strategy {result.strategy}" if result.strategy else "a graph of one's own"]
        of += [f"model {result.model}", f"run {result.id}"]
        return element(
            "header",
            element("p", "flowdecode", class_="brand"),
            element("h1", headline),
            element("p", *_between([element("bdi", part) for part in of], " · "), class_="of"),
            *self._notes(),
            element(
                "dl",
                *[
                    element(
                        "div", element("dt", name), element("dd", element("b", value), element("span", what))
                    )
                    for name, value, what in figures
                ],
                class_="figures",
            ),
            element(
                "nav",
                *[
                    element("a", name, href=f"#{name.lower()}")
                    for name in ("Timeline", "Graph", "Answer", "Table")
                ],
                aria_label="Sections",
            ),
        )

    def _notes(self) -> Iterator[Markup]:
        """What the reader must know of a run that did not go as planned."""
        if self.result.status != "done":
            yield element("p", element("b", "Status: "), self.result.status, class_="note")
        if self.result.fallback_reason:
            yield element(
                "p", element("b", "Fell back: "), element("bdi", self.result.fallback_reason), class_="note"
            )

    def timeline(self) -> Markup:
        step, labels = _ticks(self.total)
        used = {phase.name for phases in self.bars for phase in phases}
        legend = [
            element("li", element("span", class_=f"phase {name}", aria_hidden="true"), what)
            for name, what in PHASES.items()
            if name in used
        ]
        axis = [
            element("span", label, style=f"left:{_percent(index * step, self.total)}")
            for index, label in enumerate(labels)
        ]
        return _section(
            "Timeline",
            element("p", "Seconds since the run's start. Open a node to see its figures and its text."),
            element("ul", *legend, class_="legend", aria_label="Legend"),
            element(
                "div",
                element("div", *axis, class_="axis", aria_hidden="true"),
                element("ol", *map(self._row, range(len(self.nodes))), role="list"),
                class_="chart",
                style=f"--step:{_percent(step, self.total)}",
            )
            if self.nodes
            else _nothing(),
        )

    def _row(self, place: int) -> Markup:
        """One node: a bar that opens to what is known of it."""
        node, phases = self.nodes[place], self.bars[place]
        bar = [
            element(
                "span",
                class_=f"phase {phase.name}",
                style=f"left:{_percent(phase.start, self.total)};width:{_percent(phase.seconds, self.total)}",
            )
            for phase in phases
        ]
        if mark := _end_mark(node, phases):
            end = phases[-1].end if phases else 0.0
            bar.append(element("span", mark, class_="end", style=f"left:{_percent(end, self.total)}"))
        summary = element(
            "summary",
            element("span", _label(node), *self._marks(node), class_="name"),
            element("span", *bar, class_="track", role="img", aria_label=f"{_story(phases)}; {node.status}"),
            element("span", _tokens(node), element("span", node.status, class_="status"), class_="result"),
        )
        return element(
            "li",
            element("details", summary, self._detail(node, self.phases[place]), class_=_class(node)),
            id=f"node-{place + 1}",
        )

    def _marks(self, node: NodeRecord) -> Iterator[Markup]:
        if node.id in self.critical and len(self.nodes) > 1:
            yield element("span", "set the pace", class_="mark pace")
        if not node.shown and node.kind == "decode":
            yield element("span", "hidden", class_="mark")

    def _detail(self, node: NodeRecord, phases: tuple[Phase, ...]) -> Markup:
        usage = node.usage
        facts = [(PHASES[phase.name].capitalize(), _seconds(phase.seconds)) for phase in phases]
        if node.parents:
            facts.append(("Parents", ", ".join(node.parents)))
        if node.expected_tokens is not None:
            facts.append(("Tokens expected", f"{node.expected_tokens:,}"))
        if usage.prompt_tokens:
            facts.append(
                ("Prompt tokens", f"{usage.prompt_tokens:,}, {usage.cached_tokens:,} of them cached")
            )
        if node.attempts > 1:
            facts.append(("Requests", f"{node.attempts:,}"))
        if node.error:
            facts.append(("Error", node.error))
        rows = [element("div", element("dt", name), element("dd", value)) for name, value in facts]
        text = [element("p", node.text, class_="text", lang="")] if node.text else []
        return element("div", element("dl", *rows), *text, class_="detail")

    def graph(self) -> Markup:
        if not self.nodes:
            return _section("Graph", _nothing())
        columns, edges = layers_of(self.nodes)
        tallest = max(map(len, columns))
        width = len(columns) * (BOX_WIDTH + GAP_X) - GAP_X
        height = tallest * (BOX_HEIGHT + GAP_Y) - GAP_Y
        spots: dict[int, tuple[float, float]] = {}
        for depth, column in enumerate(columns):
            free = tallest - len(column) if tallest <= TALL else 0
            top = free * (BOX_HEIGHT + GAP_Y) / 2
            for row, place in enumerate(column):
                spots[place] = depth * (BOX_WIDTH + GAP_X), top + row * (BOX_HEIGHT + GAP_Y)
        curves: list[Markup] = []
        for edge in edges:
            (x, y), (end, target_y) = spots[edge.source], spots[edge.target]
            x, y, target_y = x + BOX_WIDTH, y + BOX_HEIGHT / 2, target_y + BOX_HEIGHT / 2
            both = {self.nodes[edge.source].id, self.nodes[edge.target].id}
            kinds = ["planned"] * edge.planned + ["pace"] * (both <= self.critical)
            bend = GAP_X / 2
            curves.append(
                element(
                    "path",
                    d=f"M{x:g} {y:g}C{x + bend:g} {y:g} {end - bend:g} {target_y:g} {end:g} {target_y:g}",
                    class_=" ".join(kinds) or None,
                )
            )
        boxes = [
            element(
                "li",
                element("span", _label(node), class_="name"),
                element("span", f"{_tokens(node)}{node.status}", class_="result"),
                _needs(node),
                class_=f"{_class(node)}{' pace' * (node.id in self.critical)}",
                style="left:{:g}px;top:{:g}px".format(*spots[place]),
            )
            for place, node in enumerate(self.nodes)
        ]
        svg = element("svg", *curves, width=width, height=height, aria_hidden="true", focusable="false")
        drawing = element(
            "div", svg, element("ol", *boxes, role="list"), style=f"width:{width}px;height:{height}px"
        )
        return _section(
            "Graph",
            element(
                "p",
                "What is needed stands to the left. A dotted line leads from the plan to the parts that "
                "it named, a heavy one joins the nodes that set the pace.",
            ),
            _scrolled(drawing, "graph", "The graph, drawn"),
        )

    def answer(self) -> Markup:
        text = self.result.text
        lines = [_line(line) for line in text.splitlines(keepends=True)]
        content = element("div", *lines, class_="answer", lang="") if text else _nothing()
        return _section("Answer", content)

    def table(self) -> Markup:
        """The timeline once more, as figures."""
        columns = [
            "Node",
            "Parents",
            "Status",
            "Tokens",
            "Cached",
            *map(str.capitalize, PHASES.values()),
            "End",
        ]
        rows: list[Markup] = []
        for node, phases in zip(self.nodes, self.phases, strict=True):
            took = {phase.name: f"{phase.seconds:.3f}" for phase in phases}
            rows.append(
                element(
                    "tr",
                    element("th", _label(node), scope="row"),
                    element("td", ", ".join(node.parents) or "-"),
                    element("td", node.status, *[f": {node.error}"] * bool(node.error)),
                    *[
                        element("td", value, class_="number")
                        for value in (
                            f"{node.usage.completion_tokens:,}",
                            f"{node.usage.cached_tokens:,}",
                            *[took.get(name, "-") for name in PHASES],
                            f"{phases[-1].end:.3f}" if phases else "-",
                        )
                    ],
                )
            )
        table = element(
            "table",
            element("caption", "Every node of the run; times are in seconds."),
            element("thead", element("tr", *[element("th", name, scope="col") for name in columns])),
            element("tbody", *rows),
        )
        return _section("Table", _scrolled(table, "table", "The table of nodes"))


@cache
def _style() -> Markup:
    return Markup(files("flowdecode.timeline").joinpath("page.css").read_text(encoding="utf-8"))


def _section(title: str, *content: Markup) -> Markup:
    name = title.lower()
    return element(
        "section",
        element("h2", title, id=f"{name}-title"),
        *content,
        id=name,
        aria_labelledby=f"{name}-title",
    )


def _scrolled(content: Markup, name: str, label: str) -> Markup:
    """Content that may be wider than the page; the keyboard scrolls it too."""
    return element("div", content, class_=f"scrolled {name}", tabindex=0, role="region", aria_label=label)


def _nothing() -> Markup:
    return element("p", "Nothing came of this run.", class_="nothing")


def _headline(result: Result) -> str:
    count = len(result.nodes)
    return f"{count:,} node{'' if count == 1 else 's'} in {_seconds(result.duration)}"


def _label(node: NodeRecord) -> Markup:
    """A node's number and title; its id where it has no title."""
    if not node.title.strip():
        return element("bdi", node.id or "(no title)")
    number = [element("span", node.id, class_="id"), " "] if node.id.isdecimal() else []
    return join(*number, element("bdi", node.title))


def _class(node: NodeRecord) -> str:
    """What a node looks like; its words say the same."""
    hidden, lost = not node.shown, node.status in LOST
    return f"node {node.kind} {node.status}{' hidden' * hidden}{' lost' * lost}"


def _end_mark(node: NodeRecord, phases: tuple[Phase, ...]) -> str:
    """What stands behind a bar that has no end of its own to be seen."""
    if node.status in LOST:
        return "×"
    return "" if phases and phases[-1].name in ("decode", "call") else "•"


def _needs(node: NodeRecord) -> Markup:
    """For those who can't see the lines."""
    said = f"needs {', '.join(node.parents)}" if node.parents else "needs no other"
    return element("span", said, class_="aside")


def _tokens(node: NodeRecord) -> str:
    count = node.usage.completion_tokens
    return "" if node.kind == "call" else f"{count:,} token{'' if count == 1 else 's'}, "


def _story(phases: tuple[Phase, ...]) -> str:
    """A bar in words."""
    return ", ".join(f"{PHASES[phase.name]} {_seconds(phase.seconds)}" for phase in phases) or "took no time"


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


def _seconds(value: float) -> str:
    if value >= 0.1:
        return f"{value:,.2f} s"
    return f"{value * 1000:.0f} ms" if value >= 0.001 else "under 1 ms"


def _percent(part: float, whole: float) -> str:
    return f"{100 * part / whole:.3f}%"


def _ticks(total: float) -> tuple[float, list[str]]:
    """Seconds from one tick to the next, and the labels of all of them, at round numbers."""
    rough = total / 6
    power = 10.0 ** math.floor(math.log10(rough))
    step = next(power * factor for factor in (1, 2, 5, 10) if power * factor >= rough)
    decimals = max(0, -math.floor(math.log10(step) + 1e-9))
    return step, [f"{index * step:,.{decimals}f}" for index in range(int(total / step + 1e-9) + 1)]


def _between(parts: list[Markup], separator: str) -> Iterator[str]:
    for index, part in enumerate(parts):
        if index:
            yield separator
        yield part
