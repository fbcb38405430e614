"""Which of two answers is better, by the exact score or by a judge."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable

import msgspec

from flowdecode_graphs.evaluation.answers import Judgement
from flowdecode_graphs.evaluation.measures import Pair, exact_score
from flowdecode_graphs.evaluation.variants import BASELINE

__all__ = ["Verdict", "by_exact_score", "by_judge"]

EXACT = "exact score"
SAME = 1e-9
"""Scores that differ by no more are equal."""


class Verdict(msgspec.Struct, frozen=True, kw_only=True):
    """A variant's answer against the sequential one."""

    item: str
    variant: str
    source: str
    """`exact score`, or the judge's model."""
    preference: float
    """1 for the variant, 0 for the sequential answer; of two orders, the mean."""
    length_difference: int
    """Characters of the variant's answer less those of the sequential one."""
    orders: tuple[str | None, ...] = ()
    """What a judge chose in each order."""

    @property
    def outcome(self) -> int:
        """1 a win, -1 a loss; 0 a tie, as where the two orders do not agree."""
        return 1 if self.preference == 1 else -1 if self.preference == 0 else 0

    @property
    def disagree(self) -> bool:
        return len(set(self.orders)) > 1

    @property
    def unreadable(self) -> bool:
        return None in self.orders


def by_exact_score(pairs: Iterable[Pair]) -> list[Verdict]:
    """The answer with the higher score is the better one."""
    verdicts: list[Verdict] = []
    for pair in pairs:
        own, other = exact_score(pair), exact_score(pair._replace(result=pair.sequential))
        if own is None or other is None or pair.answered.variant == BASELINE:
            continue
        preference = 0.5 if abs(own - other) <= SAME else float(own > other)
        verdicts.append(_verdict(pair, EXACT, preference))
    return verdicts


def by_judge(pairs: Iterable[Pair], judgements: Iterable[Judgement]) -> list[Verdict]:
    """Verdicts of pairs that were judged in both orders, and of answers that are the same: a tie."""
    told: dict[tuple[str, str, int], dict[str, Judgement]] = defaultdict(dict)
    for judged in judgements:
        told[judged.item, judged.variant, judged.repeat][judged.order] = judged
    if not told:
        return []
    model = next(iter(next(iter(told.values())).values())).model
    verdicts: list[Verdict] = []
    for pair in pairs:
        answered = pair.answered
        if answered.variant == BASELINE:
            continue
        orders = told.get((answered.item, answered.variant, answered.repeat), {})
        if pair.result.text == pair.sequential.text:
            verdicts.append(_verdict(pair, model, 0.5))
        elif len(orders) == 2:
            choices = [_chosen(judged) for judged in orders.values()]
            preference = sum(_PREFERENCES[choice] for choice in choices) / 2
            verdicts.append(_verdict(pair, model, preference, tuple(choices)))
    return verdicts


def _chosen(judged: Judgement) -> str | None:
    """`variant`, `sequential` or `tie`."""
    if judged.choice in (None, "tie"):
        return judged.choice
    return "variant" if judged.choice == judged.order.removeprefix("shown-") else "sequential"


_PREFERENCES = {"variant": 1.0, "sequential": 0.0, "tie": 0.5, None: 0.5}


def _verdict(pair: Pair, source: str, preference: float, orders: tuple[str | None, ...] = ()) -> Verdict:
    return Verdict(
        item=pair.item.id,
        variant=pair.answered.variant,
        source=source,
        preference=preference,
        length_difference=len(pair.result.text) - len(pair.sequential.text),
        orders=orders,
    )
