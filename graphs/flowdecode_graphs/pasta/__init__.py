"""PASTA: a model that marks the asynchronous parts of its answer itself, while it writes it.

The method is that of arXiv 2502.11517. The main thread promises chunks, whose own threads write them
while it goes on; at a sync it waits for them. `docs/pasta-lang.md` has the language.
"""

from __future__ import annotations

from typing import ClassVar

import anyio

from flowdecode.backend import SharedKV
from flowdecode.errors import PlanError
from flowdecode.graph import Graph
from flowdecode.strategy import Strategy
from flowdecode_graphs.pasta.interpreter import Interpreter
from flowdecode_graphs.pasta.language import ASYNC
from flowdecode_graphs.pasta.requests import Requests
from flowdecode_graphs.pasta.steering import Steering
from flowdecode_graphs.pasta.strands import Strands

__all__ = ["Pasta"]


class Pasta(Strategy, frozen=True, kw_only=True):
    """Interprets the tags of a model that was trained to write them; one that writes none answers plainly."""

    name: ClassVar[str] = "pasta"

    chunks: int = 64
    """The most chunks of one answer: later promises are dropped."""
    chunk_tokens: int = 1024
    """The most tokens of one chunk. What a promise says is a hint, and no limit."""

    shared_kv: bool = True
    """Whether threads share one KV cache where the engine can and the model was trained for it; else each
    is a request of its own."""

    async def grow(self, graph: Graph) -> None:
        """Decode the main thread, and the chunks that it promises. Raises PlanError."""
        engine = graph.backend.engine
        if strands := self._strands(graph):
            async with anyio.create_task_group() as group:
                group.start_soon(strands.decode)
                await Interpreter(graph, strands, most_chunks=self.chunks).run()
                group.cancel_scope.cancel()
        elif engine.capabilities.assistant_prefill:
            requests = Requests(graph, chunk_tokens=self.chunk_tokens)
            await Interpreter(graph, requests, most_chunks=self.chunks).run()
        else:
            raise PlanError(
                "Expected an engine that can go on with an assistant's text (`assistant_prefill`), "
                f"that of {engine.model} can't."
            )

    def _strands(self, graph: Graph) -> Strands | None:
        """Threads over one KV cache, where the engine has that and the model was trained for it.

        Strands are not held back one by one: where the run's width is limited, requests are.
        """
        backend, profile = graph.backend, graph.backend.engine.profile
        opening = profile.tags.get(ASYNC)
        if opening is None or not (self.shared_kv and profile.shared_kv):
            return None
        if graph.run.executor.lane.width is not None:
            return None
        if not (backend.engine.capabilities.shared_kv and isinstance(backend, SharedKV)):
            return None
        steering = Steering(opening, most_chunks=self.chunks, chunk_tokens=self.chunk_tokens)
        return Strands(graph, backend, steering)
