"""Early prefill: while a part's last parent decodes, the engine computes what is known of its prompt."""

from __future__ import annotations

from typing import TYPE_CHECKING

import msgspec

from flowdecode.attempt import Decode
from flowdecode.backend import Backend
from flowdecode.context import Context
from flowdecode.graph import Graph
from flowdecode.node import Node
from flowdecode.plan import PlanNode

if TYPE_CHECKING:
    from flowdecode_graphs.plato.contexts import Contexts

__all__ = ["EarlyPrefill"]


class EarlyPrefill:
    """Requests of one token that only fill the engine's prefix cache.

    They are nodes, so that they keep to the width, end with the run and stand in its records, as wasted.
    They have a graph of their own, so that one that fails takes nothing with it.
    """

    def __init__(self, graph: Graph, contexts: Contexts, *, worth: int) -> None:
        """`worth`: the tokens not in the cache from which on a request is sent."""
        self._contexts = contexts
        self._run = graph.run
        self._worth = worth
        self._nodes = graph.branch()
        self._nodes.discarded = True

    def watch(self, part: PlanNode, backend: Backend | None) -> None:
        """Look at `part` whenever one of its parents ends. `backend` decodes it, if not the run's own."""
        if (backend or self._run.backend).engine.capabilities.cached_tokens:
            for parent in part.parents:
                self._contexts.outputs[parent].when_ended(lambda: self._parent_ended(part, backend))
            self._parent_ended(part, backend)  # some have ended before the part was planned

    def _parent_ended(self, part: PlanNode, backend: Backend | None) -> None:
        parents = [self._contexts.outputs[parent] for parent in part.parents]
        finished = [parent for parent in parents if parent.status in ("done", "truncated")]
        if len(parents) - len(finished) != 1:
            return
        beginning = self._contexts.beginning(part)
        if beginning is None:
            return
        held = self._run.cache.expected_cached_tokens(beginning)
        if (backend or self._run.backend).count_tokens(beginning) - held >= self._worth:
            (last,) = set(parents) - set(finished)
            self._send(part, beginning, backend, finished, last)

    def _send(
        self,
        part: PlanNode,
        beginning: Context,
        backend: Backend | None,
        finished: list[Node[str]],
        last: Node[str],
    ) -> None:
        sampling = msgspec.structs.replace(self._nodes.sampling, max_tokens=1)
        prefill = self._nodes.add(
            Decode(context=lambda: beginning, sampling=sampling, shares_allowance=False, backend=backend),
            parents=finished,
            id=f"{part.id}-prefill",
            title=f"Early prefill of {part.title}",
            expected_tokens=1,
        )
        prefill.wasted = True

        def withdraw() -> None:
            if prefill.status == "ready":  # it was never sent, and the part itself is about to be
                self._run.executor.cancel(prefill, None)

        last.when_ended(withdraw)
