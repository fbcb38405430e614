"""Quality and speedup of every model against the baseline: a table and a picture."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

import matplotlib.pyplot as plt
import msgspec

from examples.pasta_atlas.measure import Answer, read_answers
from flowdecode_graphs.evaluation.estimates import Estimate, estimate

__all__ = ["Row", "answered", "draw", "fastest", "read_rows", "written"]

ALLOWED = 0.02
"""By how much a model's quality may be below the baseline's to be shipped."""
QUALITY, LOCAL, SGLANG = "quality", "pace-local", "pace-sglang"
"""The folders of answers: many at a time; one at a time on either engine."""

plot: Any = plt


class Row(msgspec.Struct, frozen=True, kw_only=True):
    """What one model and strategy gains and costs."""

    name: str
    quality: Estimate
    net_win_rate: float
    """Wins less losses against the baseline's answer to the same question, over all questions."""
    theoretical: Estimate
    """The baseline's tokens over the span, geometric mean."""
    local: Estimate | None
    """The baseline's seconds over its own, on the local engine."""
    sglang: Estimate | None
    asynchronous: float
    """The share of answers whose span is shorter than their work."""
    repaired: float
    """The share of answers with something wrong about their tags."""


def answered(folder: Path) -> list[str]:
    """What has answered, by the alphabet."""
    return sorted(path.stem for path in (folder / QUALITY).glob("*.jsonl"))


def read_rows(folder: Path, names: Iterable[str], *, baseline: str) -> list[Row]:
    """The baseline's row, and those of the others. Raises OSError where one has not answered."""
    base = read_answers(folder / QUALITY / f"{baseline}.jsonl")
    return [_row(folder, name, base) for name in (baseline, *names)]


def _row(folder: Path, name: str, base: Sequence[Answer]) -> Row:
    answers = read_answers(folder / QUALITY / f"{name}.jsonl")
    pairs = list(zip(base, answers, strict=True))
    if any(one.prompt != other.prompt for one, other in pairs):
        raise ValueError(
            f"Expected answers to the baseline's questions in their order, got others - in {name}."
        )
    signs = [(other.score > one.score) - (other.score < one.score) for one, other in pairs]
    return Row(
        name=name,
        quality=_known(estimate([[answer.score] for answer in answers])),
        net_win_rate=sum(signs) / len(signs),
        theoretical=_known(estimate([[one.work / other.span] for one, other in pairs], "geometric")),
        local=_pace(folder / LOCAL, name),
        sglang=_pace(folder / SGLANG, name),
        asynchronous=sum(answer.span < answer.work for answer in answers) / len(answers),
        repaired=sum(bool(answer.remarks) for answer in answers) / len(answers),
    )


def _pace(folder: Path, name: str) -> Estimate | None:
    if not (folder / name).exists():
        return None
    base, own = (read_answers(folder / name / f"{which}.jsonl") for which in ("baseline", "own"))
    return estimate(
        [[one.seconds / other.seconds] for one, other in zip(base, own, strict=True)], "geometric"
    )


def _known(found: Estimate | None) -> Estimate:
    if found is None:
        raise ValueError("Expected answers, got an empty file.")
    return found


def fastest(rows: Sequence[Row]) -> str | None:
    """The fastest one on the local engine whose quality is that of the baseline, the first, or nearly."""
    base, *others = rows
    good = {
        row.name: row.local.value
        for row in others
        if row.local and row.quality.value >= base.quality.value - ALLOWED
    }
    return max(good, key=lambda name: good[name]) if good else None


def written(rows: Sequence[Row]) -> str:
    """The table in Markdown."""
    head = (
        "| | quality | net win rate | theoretical speedup | actual, local engine | actual, SGLang "
        "| asynchronous | repaired |\n| --- | ---: | ---: | ---: | ---: | ---: | ---: | ---: |"
    )
    return "\n".join([head, *map(_line, rows)])


def _line(row: Row) -> str:
    cells = [
        row.name,
        _told(row.quality, ""),
        f"{row.net_win_rate:+.0%}",
        _told(row.theoretical, "x"),
        _told(row.local, "x"),
        _told(row.sglang, "x"),
        f"{row.asynchronous:.0%}",
        f"{row.repaired:.0%}",
    ]
    return f"| {' | '.join(cells)} |"


def _told(figure: Estimate | None, unit: str) -> str:
    if figure is None:
        return ""
    digits = 2 if unit else 3
    return f"{figure.value:.{digits}f}{unit} ({figure.low:.{digits}f} to {figure.high:.{digits}f})"


def draw(rows: Sequence[Row], path: Path) -> None:
    """Theoretical speedup against quality, with intervals; each point has a number, told beside."""
    figure, axes = plot.subplots(figsize=(9, 5), layout="constrained")
    for number, row in enumerate(rows, start=1):
        x, y = row.theoretical, row.quality
        colour = _colour(row.name)
        axes.errorbar(
            x.value,
            y.value,
            xerr=[[x.value - x.low], [x.high - x.value]],
            yerr=[[y.value - y.low], [y.high - y.value]],
            elinewidth=0.6,
            alpha=0.35,
            color=colour,
        )
        told = f"{number}  {row.name}"
        axes.plot(x.value, y.value, "o", markersize=13, color=colour, markeredgecolor="white", label=told)
        axes.annotate(
            str(number), (x.value, y.value), ha="center", va="center_baseline", color="white", fontsize=8
        )
    axes.axhline(rows[0].quality.value, linewidth=0.6, linestyle=":", color="grey")
    axes.axvline(1.0, linewidth=0.6, linestyle=":", color="grey")
    axes.set_xlabel("theoretical speedup (baseline's tokens / span, geometric mean)")
    axes.set_ylabel("Atlas score (mean)")
    axes.set_title("Speedup and quality, 95 % intervals")
    figure.legend(loc="outside right upper", fontsize=8, markerscale=0.6)
    figure.savefig(path)
    plot.close(figure)


def _colour(name: str) -> str:
    """By the form that it was trained in, if it was."""
    if not name.startswith(("lambda", "stage")):
        return "tab:grey"
    return "tab:orange" if name.endswith("causal") else "tab:blue"
