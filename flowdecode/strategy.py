"""The contract of a strategy: how a prompt becomes a graph."""

from __future__ import annotations

from typing import TYPE_CHECKING, ClassVar

import msgspec

from flowdecode.errors import ConfigurationError
from flowdecode.explanation import Explanation

if TYPE_CHECKING:
    from flowdecode.graph import Graph

__all__ = ["Strategy"]


class Strategy(msgspec.Struct, frozen=True, kw_only=True):
    """A way to decode an answer; its fields are its settings."""

    name: ClassVar[str]

    async def grow(self, graph: Graph) -> None:
        """Grow `graph` from `graph.prompt` and fill `graph.answer`; the run then waits for every node.

        Raise PlanError where the prompt can't be decoded in this way: the run falls back.
        """
        raise NotImplementedError

    async def explain(self, graph: Graph) -> Explanation:
        """Decode the plan alone and say what it should gain. Raises PlanError, ConfigurationError."""
        raise ConfigurationError(f"Expected a strategy that plans, such as plato, got {self.name!r}.")
