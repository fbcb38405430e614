"""What is compared: strategies by name, and the ablations of them."""

from __future__ import annotations

from collections.abc import Iterable

import msgspec

from flowdecode.errors import ConfigurationError
from flowdecode.plugins import names, open_strategy
from flowdecode.strategy import Strategy
from flowdecode_graphs.auto import Auto
from flowdecode_graphs.plato import Plato
from flowdecode_graphs.skeleton import Skeleton

__all__ = ["ABLATIONS", "BASELINE", "GROUPS", "Ablation", "Variant", "open_variants"]

BASELINE = "sequential"
"""What everything is compared with."""


class Variant(msgspec.Struct, frozen=True, kw_only=True):
    """A way to decode answers, under a name of its own."""

    name: str
    strategy: Strategy
    width: int | None = None
    query: str = ""
    """What is added to the backend's URL, such as `warm=0`."""


class Ablation(msgspec.Struct, frozen=True, kw_only=True):
    """A strategy without one of its ideas, to be run beside it."""

    name: str
    of: str
    """The strategy, as it is."""
    without: str
    strategy: Strategy
    width: int | None = None
    query: str = ""
    claim: str = ""
    """What a paper says that the idea brings."""


ABLATIONS = {
    ablation.name: ablation
    for ablation in (
        Ablation(
            name="plato-no-pipelining",
            of="plato",
            without="parts that begin while the plan is still written",
            strategy=Plato(pipelined=False),
            claim="Plato: pipelining improves the speedup by 29 %",
        ),
        Ablation(
            name="plato-canonical",
            of="plato",
            without="contexts that go on with a parent's conversation",
            strategy=Plato(layout="canonical"),
            claim="Plato: KV reuse cuts the prefill by 75 %",
        ),
        Ablation(
            name="plato-full-plan",
            of="plato",
            without="parts that see the plan so far only: all wait for its end, and see all of it",
            strategy=Plato(plan_view="full"),
        ),
        Ablation(
            name="plato-no-plan-view",
            of="plato",
            without="parts that see the plan",
            strategy=Plato(plan_view="none"),
        ),
        Ablation(
            name="plato-no-warming",
            of="plato",
            without="siblings that wait until one has prefilled their common prefix (sglang:// only)",
            strategy=Plato(),
            query=f"warm={10**9}",
            claim="Plato: KV reuse cuts the prefill by 75 %",
        ),
        *[
            Ablation(
                name=f"plato-width-{width}",
                of="plato",
                without=f"more than {width} part{'s' * (width > 1)} at once",
                strategy=Plato(),
                width=width,
            )
            for width in (1, 2, 4, 8)
        ],
        Ablation(
            name="auto-no-hedge",
            of="auto",
            without="the plain answer that starts beside the planner",
            strategy=Auto(hedge=False),
        ),
        Ablation(
            name="skeleton-no-router",
            of="skeleton",
            without="the question whether a list would do",
            strategy=Skeleton(router=False),
        ),
    )
}

GROUPS = {
    "pipelining": ("plato-no-pipelining",),
    "layout": ("plato-canonical",),
    "plan-view": ("plato-full-plan", "plato-no-plan-view"),
    "warming": ("plato-no-warming",),
    "hedge": ("auto-no-hedge",),
    "width": ("plato-width-1", "plato-width-2", "plato-width-4", "plato-width-8"),
    "router": ("skeleton-no-router",),
}
"""Ablations that belong together; `plato` itself is the one of unlimited width."""


def open_variants(wanted: Iterable[str]) -> tuple[Variant, ...]:
    """Strategies, ablations and groups of these by name, each once, the baseline first.

    What an ablation is compared with comes with it. Raises ConfigurationError.
    """
    found: dict[str, Variant] = {}
    for name in (BASELINE, *(each for group in wanted for each in GROUPS.get(group, (group,)))):
        ablation = ABLATIONS.get(name)
        if ablation is not None:
            found.setdefault(ablation.of, Variant(name=ablation.of, strategy=open_strategy(ablation.of)))
            found[name] = Variant(
                name=name, strategy=ablation.strategy, width=ablation.width, query=ablation.query
            )
        elif name in names("strategies"):
            found.setdefault(name, Variant(name=name, strategy=open_strategy(name)))
        else:
            known = [*names("strategies"), *GROUPS, *ABLATIONS]
            raise ConfigurationError(f"Expected one of {', '.join(known)}, got {name!r} - at --strategies.")
    return tuple(found.values())
