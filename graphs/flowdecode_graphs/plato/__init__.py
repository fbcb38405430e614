"""Plato: the model plans its answer as a dependency graph, whose independent parts decode side by side.

The method is that of arXiv 2402.12280; the prompts are our own.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import ClassVar, get_args

from flowdecode.backend import Backend
from flowdecode.errors import ConfigurationError
from flowdecode.explanation import Explanation
from flowdecode.graph import Graph
from flowdecode.plan import Difficulty
from flowdecode.strategy import Strategy
from flowdecode_graphs.plato.contexts import PlanView
from flowdecode_graphs.plato.layout import Layout
from flowdecode_graphs.plato.planning import Planning
from flowdecode_graphs.prompts import Prompts

__all__ = ["DIRECT", "SERIAL", "Plato"]

DIRECT = "the model chose to answer directly"
SERIAL = "no two parts of the plan can be decoded side by side"


class Plato(Strategy, frozen=True, kw_only=True):
    """Plan, and decode every part as soon as its line is complete and its parents are done."""

    name: ClassVar[str] = "plato"

    pipelined: bool = True
    """Whether parts begin while the plan is still being written."""
    layout: Layout = "spine"
    """`spine`: a part goes on with its longest parent's conversation; `canonical`: head, plan, parents."""
    plan_view: PlanView = "so-far"
    """How much of the plan a part sees; `full` makes all parts wait for the plan's end."""
    early_prefill: int = 0
    """From how many uncached tokens on what is known of a part's prompt is prefilled while its last parent
    still decodes, by a request of one wasted token; 0: never, as the spine is mostly that last parent."""
    prompts: Prompts | None = None
    """None: the model's own prompt pack, else the standard one."""
    backends: Mapping[Difficulty, str | Backend] = {}
    """Other engines, by the difficulty of the parts that they decode; the rest stays with the run's own."""

    def __post_init__(self) -> None:
        for name, value, choices in (
            ("layout", self.layout, get_args(Layout)),
            ("plan_view", self.plan_view, get_args(PlanView)),
        ):
            if value not in choices:
                raise ConfigurationError(
                    f"Expected one of {', '.join(choices)}, got {value!r} - at `{name}`."
                )
        if self.early_prefill < 0:
            raise ConfigurationError(f"Expected at least 0, got {self.early_prefill} - at `early_prefill`.")

    async def grow(self, graph: Graph) -> None:
        """Decode the plan and its parts; answer sequentially where the plan gains nothing."""
        reason = await self.decode(graph)
        if reason is not None and not graph.run.text:
            await graph.fall_back(reason)

    async def decode(self, graph: Graph, committed: Callable[[], object] = lambda: None) -> str | None:
        """Decode the plan and its parts; returns why there is nothing to gain, if there is not.

        `committed` is called at the first line that can overlap another one.
        """
        backends: dict[Difficulty, Backend] = {}
        for difficulty, backend in self.backends.items():
            backends[difficulty] = await graph.run.open_backend(backend)
        planning = Planning(self, graph, backends=backends, committed=committed)
        await planning.decode()
        if planning.direct:
            return DIRECT
        return None if planning.gains else SERIAL

    async def explain(self, graph: Graph) -> Explanation:
        """Decode only the plan."""
        planning = Planning(self, graph)
        plan = await planning.decode(dry=True)
        note = DIRECT if planning.direct else None if planning.gains else SERIAL
        return Explanation(plan=plan, note=note)
