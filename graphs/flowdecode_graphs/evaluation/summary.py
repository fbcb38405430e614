"""All numbers of a benchmark, computed from its folder: what the report shows, in every form."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Iterable, Mapping, Sequence

import msgspec

from flowdecode_graphs.evaluation.answers import Folder, Manifest
from flowdecode_graphs.evaluation.estimates import Estimate, estimate
from flowdecode_graphs.evaluation.measures import MEASURES, Mean, Pair, pairs_of
from flowdecode_graphs.evaluation.quality import Quality, qualities
from flowdecode_graphs.evaluation.router import ROUTE, Routing, routings
from flowdecode_graphs.evaluation.variants import ABLATIONS, BASELINE
from flowdecode_graphs.evaluation.verdicts import by_exact_score, by_judge

__all__ = ["Ablated", "Extreme", "Row", "Summary", "summarize"]

EXTREMES = 3
"""Prompts that are shown as the best ones, and as the worst."""


class Row(msgspec.Struct, frozen=True, kw_only=True):
    """A variant on all prompts, or on those of a category."""

    variant: str
    category: str | None
    runs: int
    measures: dict[str, Estimate]
    """By the names of `MEASURES`; what could not be measured is left out."""


class Ablated(msgspec.Struct, frozen=True, kw_only=True):
    """What an idea brings: the strategy with it beside the strategy without it, on the same prompts."""

    variant: str
    of: str
    without: str
    claim: str
    speedup: Estimate | None
    """Wall time without the idea over that with it."""
    prefill: Estimate | None
    """Prefilled tokens without it over those with it."""
    new: Estimate | None
    """The same for prompt tokens that the run itself had not sent or decoded before."""
    score: Estimate | None
    """Exact score with it less that without."""


class Extreme(msgspec.Struct, frozen=True, kw_only=True):
    """A prompt on which a variant gained most or least."""

    item: str
    prompt: str
    category: str | None
    variant: str
    repeat: int
    speedup: float


class Summary(msgspec.Struct, frozen=True, kw_only=True):
    """The numbers; `report.json` is this."""

    manifest: Manifest
    models: tuple[str, ...]
    """As the engine names them."""
    finished: str
    answers: int
    failed: dict[str, int]
    """Runs without an answer, by variant."""
    rows: tuple[Row, ...]
    qualities: tuple[Quality, ...]
    ablations: tuple[Ablated, ...]
    routings: tuple[Routing, ...]
    speedups: dict[str, tuple[float, ...]]
    """The actual speedup of every run, by variant, in ascending order."""
    best: tuple[Extreme, ...]
    worst: tuple[Extreme, ...]

    @property
    def variants(self) -> list[str]:
        """Those with answers."""
        return list(dict.fromkeys(row.variant for row in self.rows))

    @property
    def categories(self) -> list[str]:
        return list(dict.fromkeys(row.category for row in self.rows if row.category is not None))

    def row(self, variant: str, category: str | None = None) -> Row | None:
        """The row of a variant, of all prompts or a category's."""
        return next((row for row in self.rows if (row.variant, row.category) == (variant, category)), None)


class _Measured(msgspec.Struct, frozen=True):
    pair: Pair
    values: dict[str, float]


def summarize(folder: Folder) -> Summary:
    """Read a folder and compute everything. Raises ConfigurationError where it holds no benchmark."""
    manifest = folder.manifest()
    answers = folder.answers()
    pairs = pairs_of(manifest.items, answers)
    measured = [_measured(pair) for pair in pairs if pair.answered.variant != ROUTE]
    by_variant: dict[str, list[_Measured]] = defaultdict(list)
    for each in measured:
        by_variant[each.pair.answered.variant].append(each)
    variants = [name for name in manifest.variants if name in by_variant]
    categories = list(dict.fromkeys(item.category for item in manifest.items if item.category))
    ordered = {name: by_variant[name] for name in variants}
    answered = [each.pair for own in ordered.values() for each in own]
    verdicts = [*by_exact_score(answered), *by_judge(answered, folder.judgements())]
    failed: dict[str, int] = defaultdict(int)
    for answer in answers:
        failed[answer.variant] += not answer.ok
    return Summary(
        manifest=manifest,
        models=tuple(dict.fromkeys(each.result.model for each in answers if each.result)),
        finished=max((each.finished for each in answers), default=""),
        answers=len(answers),
        failed={name: count for name, count in failed.items() if count},
        rows=tuple(_rows(ordered, categories)),
        qualities=tuple(qualities(verdicts)),
        ablations=tuple(_ablations(ordered)),
        routings=tuple(routings(pairs)),
        speedups={
            name: tuple(sorted(each.values["actual_speedup"] for each in own))
            for name, own in ordered.items()
            if name != BASELINE
        },
        best=tuple(_extremes(ordered, slowest=False)),
        worst=tuple(_extremes(ordered, slowest=True)),
    )


def _measured(pair: Pair) -> _Measured:
    found = {name: measure.of(pair) for name, measure in MEASURES.items()}
    return _Measured(pair, {name: float(value) for name, value in found.items() if value is not None})


def _rows(ordered: Mapping[str, Sequence[_Measured]], categories: Sequence[str]) -> Iterable[Row]:
    for category in (None, *categories):
        for name, own in ordered.items():
            kept = [each for each in own if category is None or each.pair.item.category == category]
            if kept:
                measures = {name: _estimate(kept, name) for name in MEASURES}
                yield Row(
                    variant=name,
                    category=category,
                    runs=len(kept),
                    measures={name: value for name, value in measures.items() if value is not None},
                )


def _estimate(measured: Iterable[_Measured], name: str) -> Estimate | None:
    by_item: dict[str, list[float]] = defaultdict(list)
    for each in measured:
        if name in each.values:
            by_item[each.pair.item.id].append(each.values[name])
    return estimate(by_item.values(), MEASURES[name].mean)


def _ablations(ordered: Mapping[str, Sequence[_Measured]]) -> Iterable[Ablated]:
    for name, ablation in ABLATIONS.items():
        if name in ordered and ablation.of in ordered:
            beside = {_key(each): each for each in ordered[ablation.of]}
            both = [(each, beside[_key(each)]) for each in ordered[name] if _key(each) in beside]
            yield Ablated(
                variant=name,
                of=ablation.of,
                without=ablation.without,
                claim=ablation.claim,
                speedup=_compare(both, "duration", _ratio, "geometric"),
                prefill=_compare(both, "prefilled", _ratio, "geometric"),
                new=_compare(both, "new", _ratio, "geometric"),
                score=_compare(both, "score", lambda without, full: full - without, "arithmetic"),
            )


def _compare(
    both: Iterable[tuple[_Measured, _Measured]],
    measure: str,
    of: Callable[[float, float], float],
    mean: Mean,
) -> Estimate | None:
    """The mean of what `of` makes of the values without the idea and with it."""
    by_item: dict[str, list[float]] = defaultdict(list)
    for without, full in both:
        if measure in without.values and measure in full.values:
            by_item[without.pair.item.id].append(of(without.values[measure], full.values[measure]))
    return estimate(by_item.values(), mean)


def _ratio(value: float, of: float) -> float:
    return value / of if of else 1.0


def _key(each: _Measured) -> tuple[str, int]:
    return each.pair.item.id, each.pair.answered.repeat


def _extremes(ordered: Mapping[str, Sequence[_Measured]], *, slowest: bool) -> list[Extreme]:
    """Of the strategies as they are: with ablations beside them they would be the same prompts again."""
    runs = [
        each for name, own in ordered.items() if name != BASELINE and name not in ABLATIONS for each in own
    ]
    runs.sort(key=lambda each: each.values["actual_speedup"], reverse=not slowest)
    found: dict[str, _Measured] = {}
    for each in runs:
        found.setdefault(each.pair.item.id, each)
    return [
        Extreme(
            item=each.pair.item.id,
            prompt=each.pair.item.prompt,
            category=each.pair.item.category,
            variant=each.pair.answered.variant,
            repeat=each.pair.answered.repeat,
            speedup=each.values["actual_speedup"],
        )
        for each in list(found.values())[:EXTREMES]
    ]
