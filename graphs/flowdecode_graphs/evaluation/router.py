"""How well it is chosen whether to decode in parallel, by `auto` and by Skeleton-of-Thought's router."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Sequence
from typing import ClassVar

import msgspec

from flowdecode.graph import Graph
from flowdecode.result import Result
from flowdecode.strategy import Strategy
from flowdecode_graphs.evaluation.estimates import Estimate, estimate
from flowdecode_graphs.evaluation.items import Item
from flowdecode_graphs.evaluation.measures import Pair, exact_score
from flowdecode_graphs.evaluation.variants import BASELINE, Variant, open_variants
from flowdecode_graphs.prompts import Prompts
from flowdecode_graphs.skeleton import ask_route

__all__ = ["ROUTE", "Routing", "router_variants", "routings"]

ROUTE = "route"
FORCED = {"auto": "plato", ROUTE: "skeleton-no-router"}
"""What each router would decode with where it says parallel."""


class Route(Strategy, frozen=True, kw_only=True):
    """Asks the model for A, B or C, as `skeleton` does; the letter is the answer."""

    name: ClassVar[str] = ROUTE

    async def grow(self, graph: Graph) -> None:
        """Ask, and write what the model chose."""
        route = await ask_route(graph, Prompts.for_engine(graph.backend.engine))
        graph.answer.literal(route or "none")


class Routing(msgspec.Struct, frozen=True, kw_only=True):
    """A router against the labels: a choice of `parallel` where the label says so is right."""

    router: str
    right_parallel: int = 0
    right_sequential: int = 0
    wrong_parallel: int = 0
    """Chosen to be parallel, against the label."""
    wrong_sequential: int = 0
    agreement: Estimate | None = None
    chance: float = 0.0
    """The agreement of one who chooses parallel as often, and blindly."""
    slowdown: Estimate | None = None
    """Of choices against the label: the wall time of the way chosen over that of the other one."""
    quality_lost: Estimate | None = None
    """Of choices against the label: the exact score of the other way less that of the one chosen."""

    @property
    def kappa(self) -> float | None:
        """Cohen's: the agreement beyond chance; None where chance agrees always."""
        if self.agreement is None or self.chance == 1:
            return None
        return (self.agreement.value - self.chance) / (1 - self.chance)


def router_variants() -> tuple[Variant, ...]:
    """Both routers, and the ways that they choose between."""
    return (*open_variants(["plato", "skeleton-no-router", "auto"]), Variant(name=ROUTE, strategy=Route()))


def routings(pairs: Sequence[Pair]) -> list[Routing]:
    """Of all labelled prompts."""
    by_variant: dict[str, dict[tuple[str, int], Pair]] = defaultdict(dict)
    for pair in pairs:
        by_variant[pair.answered.variant][pair.item.id, pair.answered.repeat] = pair
    return [
        _routing(name, by_variant[name].values(), by_variant[forced])
        for name, forced in FORCED.items()
        if by_variant.get(name)
    ]


def _routing(name: str, pairs: Iterable[Pair], forced: dict[tuple[str, int], Pair]) -> Routing:
    counts: dict[tuple[bool, bool], int] = defaultdict(int)
    agreed: dict[str, list[float]] = defaultdict(list)
    slower: dict[str, list[float]] = defaultdict(list)
    lost: dict[str, list[float]] = defaultdict(list)
    for pair in pairs:
        label = _label(name, pair.item)
        if label is None:
            continue
        chosen = _chose_parallel(name, pair.result)
        counts[label, chosen] += 1
        agreed[pair.item.id].append(label == chosen)
        parallel = forced.get((pair.item.id, pair.answered.repeat))
        if label != chosen and parallel is not None:
            ways = [parallel, parallel._replace(result=parallel.sequential)]
            taken, other = ways if chosen else reversed(ways)
            if other.result.duration:
                slower[pair.item.id].append(taken.result.duration / other.result.duration)
            scores = exact_score(other), exact_score(taken)
            if scores[0] is not None and scores[1] is not None:
                lost[pair.item.id].append(scores[0] - scores[1])
    total = sum(counts.values()) or 1
    labelled = sum(count for (label, _), count in counts.items() if label) / total
    chosen_share = sum(count for (_, chosen), count in counts.items() if chosen) / total
    return Routing(
        router=name,
        right_parallel=counts[True, True],
        right_sequential=counts[False, False],
        wrong_parallel=counts[False, True],
        wrong_sequential=counts[True, False],
        agreement=estimate(agreed.values()),
        chance=labelled * chosen_share + (1 - labelled) * (1 - chosen_share),
        slowdown=estimate(slower.values(), "geometric"),
        quality_lost=estimate(lost.values()),
    )


def _label(name: str, item: Item) -> bool | None:
    """The A/B/C router is asked whether the parts are independent, auto whether a plan gains."""
    return item.independent if name == ROUTE else item.parallel


def _chose_parallel(name: str, result: Result) -> bool:
    return result.text == "A" if name == ROUTE else result.strategy not in (BASELINE, None)
