"""What is measured of an answer beside the sequential one to the same prompt."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Mapping
from itertools import pairwise
from typing import Literal, NamedTuple

import msgspec

from flowdecode.cli.comparison import Comparison
from flowdecode.result import Result
from flowdecode_graphs.atlas import score
from flowdecode_graphs.atlas.sections import cross_section_repetition, split_sections
from flowdecode_graphs.evaluation.answers import Answered
from flowdecode_graphs.evaluation.items import Item
from flowdecode_graphs.evaluation.variants import BASELINE
from flowdecode_graphs.plato.grammar import PLAN_GRAMMAR

__all__ = ["MEASURES", "Mean", "Measure", "Pair", "exact_score", "pairs_of", "ran_in_parallel"]

Mean = Literal["geometric", "arithmetic"]


class Pair(NamedTuple):
    """An answer, and the sequential one to the same prompt in the same round."""

    item: Item
    answered: Answered
    result: Result
    sequential: Result

    @property
    def comparison(self) -> Comparison:
        return Comparison(self.result, self.sequential)


class Measure(msgspec.Struct, frozen=True, kw_only=True):
    """A figure of one pair, and how it is averaged and shown."""

    name: str
    title: str
    says: str
    of: Callable[[Pair], float | None]
    mean: Mean = "arithmetic"
    unit: str = ""
    """`x`, `s`, `%` or nothing."""
    better: int = 0
    """1: more is better, -1: less, 0: neither."""
    decimals: int = 2


def exact_score(pair: Pair) -> float | None:
    """The Atlas's score, from 0 to 1; None for other prompts."""
    question = pair.item.question
    return None if question is None else score(question, pair.result.text).value


def ran_in_parallel(result: Result) -> bool:
    """Whether any two parts that were of use were decoded at the same time."""
    spans = sorted(
        (node.first_token_at, node.finished_at)
        for node in result.nodes
        if node.kind == "decode" and node.status in ("done", "truncated")
        if node.first_token_at is not None and node.finished_at is not None
    )
    return any(later[0] < earlier[1] for earlier, later in pairwise(spans))


def _repetition(pair: Pair) -> float | None:
    bodies = [section.body for section in split_sections(pair.result.text)]
    return cross_section_repetition(bodies)


def _plan_is_well_formed(pair: Pair) -> float | None:
    """Of plans that were written to their end, by `plato` or `auto`."""
    plan = next((node for node in pair.result.nodes if node.id == node.kind == "plan"), None)
    if plan is None or plan.status != "done":
        return None
    return re.fullmatch(PLAN_GRAMMAR.regex, plan.text) is not None


def _prefilled(pair: Pair) -> float:
    usage = pair.result.usage
    return usage.prompt_tokens - usage.cached_tokens


def _new(pair: Pair) -> float:
    """A node that was sent again asks for its prompt again, which is not new."""
    own = sum(node.expected_cached_tokens for node in pair.result.nodes)
    return max(0, pair.result.usage.prompt_tokens - own)


def _reused(pair: Pair) -> float | None:
    prompts = pair.result.usage.prompt_tokens
    return 1 - _new(pair) / prompts if prompts else None


def _throughput(pair: Pair) -> float | None:
    return pair.result.work / pair.result.duration if pair.result.duration else None


MEASURES: Mapping[str, Measure] = {
    measure.name: measure
    for measure in (
        Measure(
            name="actual_speedup",
            title="Actual speedup",
            says="wall time of the sequential run over the run's own",
            of=lambda pair: pair.comparison.actual_speedup,
            mean="geometric",
            unit="x",
            better=1,
        ),
        Measure(
            name="theoretical_speedup",
            title="Theoretical speedup",
            says="tokens of the sequential answer over the span",
            of=lambda pair: pair.comparison.theoretical_speedup,
            mean="geometric",
            unit="x",
            better=1,
        ),
        Measure(
            name="duration",
            title="Wall time",
            says="from the prompt to the end of the answer",
            of=lambda pair: pair.result.duration,
            mean="geometric",
            unit="s",
            better=-1,
        ),
        Measure(
            name="first_text",
            title="To the first token",
            says="until the first text of the answer is there to read",
            of=lambda pair: pair.answered.first_text_at,
            mean="geometric",
            unit="s",
            better=-1,
        ),
        Measure(
            name="first_part",
            title="To the first part",
            says="until the first section of the answer is complete; all of it, where it has no sections",
            of=lambda pair: pair.answered.first_part_at,
            mean="geometric",
            unit="s",
            better=-1,
        ),
        Measure(
            name="throughput",
            title="Tokens a second",
            says="work over wall time",
            of=_throughput,
            mean="geometric",
            better=1,
            decimals=1,
        ),
        Measure(
            name="parallelism",
            title="Parallelism",
            says="work over span",
            of=lambda pair: pair.result.parallelism,
            mean="geometric",
        ),
        Measure(
            name="parallel",
            title="Really parallel",
            says="runs in which two parts were decoded at the same time",
            of=lambda pair: ran_in_parallel(pair.result),
            unit="%",
        ),
        Measure(
            name="span",
            title="Span",
            says="tokens on the longest chain",
            of=lambda pair: pair.result.span,
            better=-1,
            decimals=0,
        ),
        Measure(
            name="token_overhead",
            title="Token overhead",
            says="all tokens that were decoded, dropped ones too, over those of the sequential answer",
            of=lambda pair: pair.comparison.token_overhead,
            mean="geometric",
            unit="x",
            better=-1,
        ),
        Measure(
            name="prefilled",
            title="Prefilled",
            says="prompt tokens that the engine did not find in its prefix cache",
            of=_prefilled,
            better=-1,
            decimals=0,
        ),
        Measure(
            name="cached",
            title="Cached",
            says="prompt tokens that it did find",
            of=lambda pair: pair.result.usage.cached_tokens,
            decimals=0,
        ),
        Measure(
            name="new",
            title="New",
            says="prompt tokens that the run itself had not sent or decoded before",
            of=_new,
            better=-1,
            decimals=0,
        ),
        Measure(
            name="reused",
            title="Reused",
            says="of all prompt tokens, those that were not new",
            of=_reused,
            unit="%",
            better=1,
        ),
        Measure(
            name="score",
            title="Exact score",
            says="the Atlas's score of the answer",
            of=exact_score,
            better=1,
            decimals=3,
        ),
        Measure(
            name="well_formed",
            title="Well-formed plans",
            says="plans that are what the plan grammar allows, to the letter",
            of=_plan_is_well_formed,
            unit="%",
            better=1,
        ),
        Measure(
            name="repetition",
            title="Repetition",
            says="distinct trigrams of words that stand in two or more sections",
            of=_repetition,
            unit="%",
            better=-1,
        ),
    )
}


def pairs_of(items: Iterable[Item], answers: Iterable[Answered]) -> list[Pair]:
    """Every answer beside the sequential one of its round; of those that failed, none."""
    known = {item.id: item for item in items}
    told = [answered for answered in answers if answered.ok and answered.item in known]
    sequential = {(each.item, each.repeat): each for each in told if each.variant == BASELINE}
    return [
        Pair(known[answered.item], answered, answered.result, beside.result)
        for answered in told
        if (beside := sequential.get((answered.item, answered.repeat)))
        and answered.result is not None
        and beside.result is not None
    ]
