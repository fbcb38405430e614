"""How often a variant's answers are better: the win rates that follow from verdicts."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Iterable, Sequence

import msgspec

from flowdecode_graphs.evaluation.estimates import Estimate, estimate
from flowdecode_graphs.evaluation.length_control import Preference, length_controlled
from flowdecode_graphs.evaluation.verdicts import Verdict

__all__ = ["Quality", "qualities"]


class Quality(msgspec.Struct, frozen=True, kw_only=True):
    """All verdicts on a variant from one source."""

    variant: str
    source: str
    wins: int
    losses: int
    ties: int
    disagreements: int = 0
    """Of the ties, pairs of which the judge said one thing in one order and another in the other."""
    unreadable: int = 0
    """Of the ties, pairs with an answer of the judge that held no verdict."""
    win_rate: Estimate | None = None
    """A tie is half a win."""
    net_win_rate: Estimate | None = None
    """Wins less losses, over all."""
    length_controlled_win_rate: float | None = None
    """What the win rate were, had both answers the same length."""
    length_effect: float | None = None
    """The GLM's coefficient of length: above 0, the longer answer is preferred for being longer."""


def qualities(verdicts: Sequence[Verdict]) -> list[Quality]:
    """By variant and source, in the order in which they come."""
    found: list[Quality] = []
    grouped: dict[str, dict[str, list[Verdict]]] = defaultdict(lambda: defaultdict(list))
    for verdict in verdicts:
        grouped[verdict.source][verdict.variant].append(verdict)
    for source, variants in grouped.items():
        controlled = length_controlled(
            {
                name: [Preference(each.item, each.preference, each.length_difference) for each in told]
                for name, told in variants.items()
            }
        )
        for name, told in variants.items():
            outcomes = [verdict.outcome for verdict in told]
            fit = controlled.get(name)
            found.append(
                Quality(
                    variant=name,
                    source=source,
                    wins=outcomes.count(1),
                    losses=outcomes.count(-1),
                    ties=outcomes.count(0),
                    disagreements=sum(verdict.disagree for verdict in told),
                    unreadable=sum(verdict.unreadable for verdict in told),
                    win_rate=_mean(told, lambda verdict: (1 + verdict.outcome) / 2),
                    net_win_rate=_mean(told, lambda verdict: verdict.outcome),
                    length_controlled_win_rate=fit.win_rate if fit else None,
                    length_effect=fit.length if fit else None,
                )
            )
    return found


def _mean(verdicts: Iterable[Verdict], of: Callable[[Verdict], float]) -> Estimate | None:
    by_item: dict[str, list[float]] = defaultdict(list)
    for verdict in verdicts:
        by_item[verdict.item].append(of(verdict))
    return estimate(by_item.values())
