"""The timeline: a bar for every node, which opens to what is known of it."""

from __future__ import annotations

import math
from collections.abc import Iterator
from typing import NamedTuple

from flowdecode.result import NodeRecord, Result
from flowdecode.timeline.markup import Markup, element, join
from flowdecode.timeline.parts import LOST, label, look, nothing, percent, seconds, section, tokens
from flowdecode.timeline.phases import PHASES, Phase, critical_path, phases_of

__all__ = ["bars", "chart"]


class Bar(NamedTuple):
    """A node as it is drawn."""

    node: NodeRecord
    phases: tuple[Phase, ...]
    drawn: tuple[Phase, ...]
    """The phases without those too short to be seen, such as the microseconds until a node is sent."""
    sets_pace: bool


def bars(result: Result) -> Markup:
    """The section with the legend, the axis and the bars."""
    if not result.nodes:
        return section("Timeline", nothing())
    return section(
        "Timeline",
        element("p", "Seconds since the run's start. Open a node to see its figures and its text."),
        chart(result),
    )


def chart(result: Result, *, until: float = 0.0, name: str = "node") -> Markup:
    """The legend, the axis and the bars; the axis goes to `until` seconds at least.

    Charts of one page need each a `name` of their own.
    """
    lives = [phases_of(node, result.duration) for node in result.nodes]
    total = max([until, result.duration, *[phases[-1].end for phases in lives if phases]]) or 1.0
    pace = critical_path(result.nodes) if len(result.nodes) > 1 else ()
    drawn = [
        tuple([phase for phase in phases if phase.seconds >= total / 1000]) or phases[-1:] for phases in lives
    ]
    all_bars = [
        Bar(node, phases, seen, node.id in pace)
        for node, phases, seen in zip(result.nodes, lives, drawn, strict=True)
    ]
    step, labels = _ticks(total)
    axis = [
        element("span", said, style=f"left:{percent(index * step, total)}")
        for index, said in enumerate(labels)
    ]
    rows = [_row(bar, f"{name}-{number}", total) for number, bar in enumerate(all_bars, start=1)]
    return join(
        _legend(all_bars),
        element(
            "div",
            element("div", *axis, class_="axis", aria_hidden="true"),
            element("ol", *rows, role="list"),
            class_="chart",
            style=f"--step:{percent(step, total)}",
        ),
    )


def _legend(all_bars: list[Bar]) -> Markup:
    used = {phase.name for bar in all_bars for phase in bar.drawn}
    items = [
        element("li", element("span", class_=f"phase {name}", aria_hidden="true"), what)
        for name, what in PHASES.items()
        if name in used
    ]
    return element("ul", *items, class_="legend", aria_label="Legend")


def _row(bar: Bar, name: str, total: float) -> Markup:
    node = bar.node
    drawn = [
        element(
            "span",
            class_=f"phase {phase.name}",
            style=f"left:{percent(phase.start, total)};width:{percent(phase.seconds, total)}",
        )
        for phase in bar.drawn
    ]
    if mark := _end_mark(bar):
        end = bar.drawn[-1].end if bar.drawn else 0.0
        drawn.append(element("span", mark, class_="end", style=f"left:{percent(end, total)}"))
    summary = element(
        "summary",
        element("span", label(node), *_marks(bar), class_="name"),
        element("span", *drawn, class_="track", role="img", aria_label=f"{_story(bar)}; {node.status}"),
        element("span", tokens(node), element("span", node.status, class_="status"), class_="result"),
    )
    return element("li", element("details", summary, _detail(bar), class_=look(node)), id=name)


def _end_mark(bar: Bar) -> str:
    """What stands behind a bar that has no end of its own to be seen."""
    if bar.node.status in LOST:
        return "×"
    return "" if bar.drawn and bar.drawn[-1].name in ("decode", "call") else "•"


def _marks(bar: Bar) -> Iterator[Markup]:
    if bar.sets_pace:
        yield element("span", "set the pace", class_="mark pace")
    if not bar.node.shown and bar.node.kind == "decode":
        yield element("span", "hidden", class_="mark")


def _story(bar: Bar) -> str:
    """A bar in words."""
    told = [f"{PHASES[phase.name]} {seconds(phase.seconds)}" for phase in bar.drawn]
    return ", ".join(told) or "took no time"


def _detail(bar: Bar) -> Markup:
    node, usage = bar.node, bar.node.usage
    facts = [(PHASES[phase.name].capitalize(), seconds(phase.seconds)) for phase in bar.phases]
    if node.parents:
        facts.append(("Parents", ", ".join(node.parents)))
    if node.expected_tokens is not None:
        facts.append(("Tokens expected", f"{node.expected_tokens:,}"))
    if usage.prompt_tokens:
        facts.append(("Prompt tokens", f"{usage.prompt_tokens:,}, {usage.cached_tokens:,} of them cached"))
    if node.attempts > 1:
        facts.append(("Requests", f"{node.attempts:,}"))
    if node.error:
        facts.append(("Error", node.error))
    rows = [element("div", element("dt", name), element("dd", value)) for name, value in facts]
    text = [element("p", node.text, class_="text", lang="")] if node.text else []
    return element("div", element("dl", *rows), *text, class_="detail")


def _ticks(total: float) -> tuple[float, list[str]]:
    """Seconds from one tick to the next, and the labels of all of them, at round numbers."""
    rough = total / 6
    power = 10.0 ** math.floor(math.log10(rough))
    step = next(power * factor for factor in (1, 2, 5, 10) if power * factor >= rough)
    decimals = max(0, -math.floor(math.log10(step) + 1e-9))
    return step, [f"{index * step:,.{decimals}f}" for index in range(int(total / step + 1e-9) + 1)]
