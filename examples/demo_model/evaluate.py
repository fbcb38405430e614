"""How good the demo model's answers are, and how fast: held-out questions, every strategy, exact scores."""

from __future__ import annotations

import asyncio
import re
from collections import defaultdict
from collections.abc import Mapping, Sequence
from statistics import fmean, geometric_mean, median
from typing import NamedTuple

from rich.progress import track
from rich.table import Table

import flowdecode
from flowdecode import Flow, Result
from flowdecode.strategy import Strategy
from flowdecode_graphs.atlas import Question, heldout_questions, score
from flowdecode_graphs.atlas.tasks import KINDS, Guide
from flowdecode_graphs.plato.grammar import PLAN_GRAMMAR
from flowdecode_graphs.skeleton import Skeleton

__all__ = ["measure_quality", "measure_speed"]

STRATEGIES: Mapping[str, str | Strategy] = {
    "sequential": "sequential",
    "plato": "plato",
    "auto": "auto",
    "skeleton": "skeleton",
    "skeleton, no router": Skeleton(router=False),
}
CONCURRENT = 16
MAX_TOKENS = 1024
_PLAN = re.compile(PLAN_GRAMMAR.regex)


class Answered(NamedTuple):
    """One run."""

    question: Question
    result: Result

    @property
    def score(self) -> float:
        return score(self.question, self.result.text).value

    @property
    def plan_parses(self) -> bool:
        """Whether the planner wrote what the plan grammar allows."""
        written = next((node.text for node in self.result.nodes if node.kind == "plan"), "")
        return _PLAN.fullmatch(written) is not None


async def measure_quality(backend: str, limit: int | None = None) -> Table:
    """Mean scores by kind and strategy; `limit` questions of each kind, or all."""
    asked = [question for kind in KINDS for question in _of_kind(kind)[:limit]]
    answered: dict[str, list[Answered]] = {}
    async with flowdecode.connect(backend, concurrency=CONCURRENT) as flow:
        for name, strategy in STRATEGIES.items():
            answered[name] = await _ask_all(flow, asked, strategy, name)
    table = Table("kind", "questions", *STRATEGIES)
    for kind in KINDS:
        of_kind = {
            name: [each for each in told if each.question.kind == kind] for name, told in answered.items()
        }
        table.add_row(kind, str(len(of_kind["plato"])), *map(_mean, of_kind.values()))
    table.add_row("all", str(len(asked)), *map(_mean, answered.values()))
    parsed = fmean(each.plan_parses for each in answered["plato"])
    direct = [
        each.result.strategy == "sequential" for each in answered["auto"] if each.question.kind == "short"
    ]
    table.caption = (
        f"plans that parse {parsed:.1%}, short facts that auto answers directly {fmean(direct):.1%}"
    )
    return table


async def measure_speed(backend: str, limit: int | None = None) -> Table:
    """Speedup of plato over sequential on held-out guides with four long parts or more, one at a time."""
    asked = [question for question in _of_kind("guide") if _is_long(question)][:limit]
    rows: dict[str, list[float]] = defaultdict(list)
    async with flowdecode.connect(backend) as flow:
        await flow.run(asked[0].prompt, strategy="plato", temperature=0)
        for question in track(asked, "speed"):
            plain = await flow.run(
                question.prompt, strategy="sequential", temperature=0, max_tokens=MAX_TOKENS
            )
            told = await flow.run(question.prompt, strategy="plato", temperature=0, max_tokens=MAX_TOKENS)
            plan = sum(node.usage.completion_tokens for node in told.nodes if node.kind == "plan")
            rows["actual speedup"].append(plain.duration / told.duration)
            rows["theoretical speedup"].append(plain.work / told.span)
            rows["plan tokens / answer tokens"].append(plan / (told.work - plan))
            rows["sequential, s"].append(plain.duration)
            rows["plato, s"].append(told.duration)
    table = Table("measure", "geometric mean", "median", "lowest", "highest")
    for name, values in rows.items():
        figures = (geometric_mean(values), median(values), min(values), max(values))
        table.add_row(name, *(f"{figure:.3f}" for figure in figures))
    table.caption = f"{len(asked)} questions"
    return table


async def _ask_all(
    flow: Flow, asked: Sequence[Question], strategy: str | Strategy, name: str
) -> list[Answered]:
    runs = [
        asyncio.ensure_future(
            flow.run(question.prompt, strategy=strategy, temperature=0, max_tokens=MAX_TOKENS)
        )
        for question in asked
    ]
    return [
        Answered(question, await run) for question, run in track(list(zip(asked, runs, strict=True)), name)
    ]


def _of_kind(kind: str) -> list[Question]:
    return [question for question in heldout_questions() if question.kind == kind]


def _is_long(question: Question) -> bool:
    return isinstance(question.task, Guide) and question.task.long


def _mean(answered: list[Answered]) -> str:
    return f"{fmean(each.score for each in answered):.3f}"
