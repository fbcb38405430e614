"""The report's pictures: places in percent of boxes, so that they fit any width, and no script."""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from itertools import pairwise
from typing import NamedTuple

import numpy as np

from flowdecode.timeline.markup import Markup, element
from flowdecode.timeline.parts import percent
from flowdecode_graphs.evaluation.estimates import Estimate
from flowdecode_graphs.evaluation.figures import written

__all__ = ["Bar", "Point", "Scale", "bars", "distributions", "frontier"]

STEPS = (1, 2, 2.5, 5, 10)
COLOURS = 8
"""In page.css."""
TICKS = 5
"""About so many on an axis."""
RATIO_TICKS = (0.1, 0.2, 0.5, 0.75, 1, 1.5, 2, 3, 5, 10, 20, 50)


class Point(NamedTuple):
    """A variant in the frontier."""

    name: str
    number: int
    """Its own in the whole report; it gives the colour."""
    x: Estimate
    y: Estimate


class Bar(NamedTuple):
    """A figure of a variant."""

    name: str
    number: int
    value: Estimate


class Scale(NamedTuple):
    """Where values are on an axis."""

    low: float
    high: float
    ticks: tuple[float, ...]
    log: bool = False

    def place(self, value: float) -> float:
        """From 0 at the low end to 1."""
        low, high, value = (math.log(each) if self.log else each for each in (self.low, self.high, value))
        return min(1.0, max(0.0, (value - low) / (high - low)))

    @classmethod
    def around(cls, values: Iterable[float]) -> Scale:
        """Round numbers a little beyond all values."""
        low, high = min(values := list(values)), max(values)
        room = (high - low or abs(high) or 1.0) * 0.08
        low, high = low - room, high + room
        power = 10.0 ** math.floor(math.log10((high - low) / TICKS))
        step = next(power * each for each in STEPS if power * each >= (high - low) / TICKS)
        first = math.ceil(low / step)
        return cls(low, high, tuple(n * step for n in range(first, math.floor(high / step) + 1)))

    @classmethod
    def ratios(cls, values: Iterable[float]) -> Scale:
        """Logarithmic, with 1 in it: twice as fast is as far from it as half as fast."""
        values = [value for value in values if value > 0]
        low, high = min([0.9, *values]) * 0.95, max([1.2, *values]) * 1.05
        ticks = [tick for tick in RATIO_TICKS if low <= tick <= high]
        return cls(low, high, tuple(ticks), log=True)


def frontier(points: Sequence[Point], x_title: str, y_title: str, x_unit: str, y_unit: str) -> Markup:
    """Speed to the right, quality upwards; the line joins those that no other one beats in both."""
    across = Scale.around([edge for point in points for edge in (point.x.low, point.x.high)])
    up = Scale.around([edge for point in points for edge in (point.y.low, point.y.high)])
    dots: list[Markup] = []
    for point in points:
        x, y = across.place(point.x.value), up.place(point.y.value)
        lows = across.place(point.x.low), up.place(point.y.low)
        spans = across.place(point.x.high) - lows[0], up.place(point.y.high) - lows[1]
        dots += [
            _box(f"whisker across {_colour(point.number)}", left=lows[0], bottom=y, width=spans[0]),
            _box(f"whisker up {_colour(point.number)}", left=x, bottom=lows[1], height=spans[1]),
            _box(f"dot {_colour(point.number)}", str(point.number), left=x, bottom=y),
        ]
    line = [
        f"{1000 * across.place(point.x.value):.0f} {1000 * (1 - up.place(point.y.value)):.0f}"
        for point in _undominated(points)
    ]
    plot = element(
        "div",
        *[_box("grid across", _tick(tick, y_unit), bottom=up.place(tick)) for tick in up.ticks],
        *[_box("grid up", _tick(tick, x_unit), left=across.place(tick)) for tick in across.ticks],
        _stretched(f"M{'L'.join(line)}", height=1000),
        *dots,
        class_="plot",
        aria_hidden="true",
    )
    key = [
        element(
            "li",
            element("span", str(point.number), class_=f"dot {_colour(point.number)}", aria_hidden="true"),
            element("b", point.name),
            element("span", f"{written(point.x, x_unit)}, {written(point.y, y_unit, 3)}", class_="figure"),
        )
        for point in points
    ]
    return element(
        "figure",
        element("p", f"↑ {y_title}", class_="axis-title"),
        plot,
        element("p", f"{x_title} →", class_="axis-title right"),
        element("ol", *key, class_="key", role="list"),
        class_="frontier",
    )


def distributions(speedups: Sequence[tuple[str, int, Sequence[float]]]) -> Markup:
    """A line for every run on one axis of ratios, behind a box from the first quartile to the third."""
    scale = Scale.ratios([value for _, _, values in speedups for value in values])
    rows: list[Markup] = []
    for name, number, values in speedups:
        first, middle, third = np.quantile(values, (0.25, 0.5, 0.75))
        marks = "".join(f"M{1000 * scale.place(value):.0f} 0V10" for value in values)
        faster = sum(value > 1 for value in values) / len(values)
        track = element(
            "div",
            *_grid(scale),
            _stretched(marks, height=10),
            _box("box", left=scale.place(first), width=scale.place(third) - scale.place(first)),
            _box("median", left=scale.place(middle)),
            class_=f"strip {_colour(number)}",
            role="img",
            aria_label=f"median {middle:.2f}x, half of all from {first:.2f}x to {third:.2f}x",
        )
        said = f"{middle:.2f}x, {faster:.0%} faster"
        rows.append(_line(name, track, element("span", said, class_="figure")))
    return element("div", *rows, _line("", _axis(scale, "x"), Markup("")), class_="lines")


def bars(groups: Sequence[tuple[str, Sequence[Bar]]], unit: str) -> Markup:
    """Bars from the axis's 1x, or from 0, with their confidence intervals, in a group for every category."""
    edges = [edge for _, own in groups for bar in own for edge in (bar.value.low, bar.value.high)]
    scale = Scale.ratios(edges) if unit == "x" else Scale(0, max([1e-9, *edges]), ())
    origin = scale.place(1) if unit == "x" else 0.0
    found: list[Markup] = []
    for title, own in groups:
        rows = [element("h4", title)]
        for bar in own:
            end = scale.place(bar.value.value)
            low, high = scale.place(bar.value.low), scale.place(bar.value.high)
            track = element(
                "div",
                *_grid(scale),
                _box("bar", left=min(origin, end), width=abs(end - origin)),
                _box("whisker across", left=low, width=high - low),
                class_=f"strip thin {_colour(bar.number)}",
                aria_hidden="true",
            )
            said = written(bar.value, unit)
            rows.append(
                _line(bar.name, track, element("span", said.value, class_="figure", title=said.interval))
            )
        found.append(element("div", *rows, class_="group"))
    if scale.ticks:
        found.append(_line("", _axis(scale, unit), Markup("")))
    return element("div", *found, class_="lines")


def _undominated(points: Sequence[Point]) -> list[Point]:
    """From left to right, those that no other point beats in speed and quality."""
    kept: list[Point] = []
    for point in sorted(points, key=lambda point: (point.x.value, point.y.value), reverse=True):
        if not kept or point.y.value > kept[-1].y.value:
            kept.append(point)
    return kept[::-1]


def _colour(number: int) -> str:
    """Colours come again; numbers do not."""
    return f"v{(number - 1) % COLOURS + 1}"


def _line(name: str, track: Markup, figure: Markup) -> Markup:
    return element("div", element("span", name, class_="name"), track, figure, class_="line")


def _grid(scale: Scale) -> list[Markup]:
    return [_box(f"rule{' one' * (tick == 1)}", left=scale.place(tick)) for tick in scale.ticks]


def _axis(scale: Scale, unit: str) -> Markup:
    """The ticks' labels; of those too close to the one before, none."""
    kept = list(scale.ticks[:1])
    for before, tick in pairwise(scale.ticks):
        if scale.place(tick) - scale.place(kept[-1]) > 0.07 or before == tick:
            kept.append(tick)
    said = [_box("tick", _tick(tick, unit), left=scale.place(tick)) for tick in kept]
    return element("div", *said, class_="ticks", aria_hidden="true")


def _tick(value: float, unit: str) -> Markup:
    said = f"{100 * value:.4g} %" if unit == "%" else f"{value:.4g}{unit if unit == 'x' else ''}"
    return element("span", said)


def _box(name: str, *children: str, **places: float) -> Markup:
    style = ";".join(f"{side}:{percent(place, 1)}" for side, place in places.items())
    return element("span", *children, class_=name, style=style)


def _stretched(path: str, height: int) -> Markup:
    return element(
        "svg",
        element("path", d=path, vector_effect="non-scaling-stroke"),
        viewBox=f"0 0 1000 {height}",
        preserveAspectRatio="none",
        aria_hidden="true",
        focusable="false",
    )
