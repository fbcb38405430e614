"""The default: the plain answer and the plan start together, and the better one goes on."""

from __future__ import annotations

from typing import ClassVar, Literal

import anyio

from flowdecode.backend import Load
from flowdecode.errors import BackendError, NodeError, PlanError
from flowdecode.explanation import Explanation
from flowdecode.graph import Graph
from flowdecode.node import Node
from flowdecode.plugins import open_strategy
from flowdecode.strategy import Strategy
from flowdecode_graphs.plato import Plato
from flowdecode_graphs.sequential import add_answer

__all__ = ["BUSY", "PATIENCE", "Auto"]

BUSY = "the engine is too busy for parts to be decoded side by side"

PATIENCE = 1.0
"""Seconds that an engine has to tell its load."""

_Room = Literal["one stream", "parts", "a hedge"]


class Auto(Strategy, frozen=True, kw_only=True):
    """Decode in parallel where the plan gains something, else plainly; hedged, so that waiting costs nothing.

    The sequential text is withheld until the planner commits. If it never does, that text is the
    answer, byte for byte; if it does, the stream is aborted, and its tokens are wasted. On an engine that
    is busy there is no plan: parts side by side would only take the time of each other, and of all else.
    """

    name: ClassVar[str] = "auto"

    hedge: bool = True
    """Whether the plain answer starts beside the planner."""
    slow: float = 1.5
    """How much slower the engine's steps are than for one request, from which on the answer is plain. It is,
    too, where requests wait for a place: in the engine's queue, or in the connection's own."""
    busy: int = 32
    """Requests from which on there is no hedge where the engine doesn't tell how slow its steps are: those in
    its batch, or where it tells nothing, those of this connection."""
    crowd: float = 2.0
    """How much longer a run without a `width` of its own may make the steps of others in the batch."""
    plato: Plato = Plato()

    async def grow(self, graph: Graph) -> None:
        """Let the plan and the plain answer race until one of them is the answer."""
        chosen = self._chosen(graph)
        room = await self._room(graph) if chosen is self.plato else None
        if room == "one stream":
            graph.run.decided("sequential", BUSY)
            add_answer(graph)
        elif room == "a hedge" and self.hedge:
            await self._race(graph)
        else:
            graph.run.decided(chosen.name)
            await chosen.grow(graph)

    async def explain(self, graph: Graph) -> Explanation:
        """Decode only the plan."""
        return await self._chosen(graph).explain(graph)

    def _chosen(self, graph: Graph) -> Strategy:
        """What the model was trained for first of all; Plato where it does not say."""
        trained = graph.backend.engine.profile.strategies
        return open_strategy(trained[0]) if trained and trained[0] != "plato" else self.plato

    async def _room(self, graph: Graph) -> _Room:
        """What there is room for: one stream, parts side by side, or these with a hedge."""
        queue, lane = graph.run.admission, graph.run.executor.lane
        load: Load | None = None
        with anyio.move_on_after(PATIENCE):
            load = await graph.backend.load()
        if queue.full:
            return "one stream"
        if load is None:
            return "parts" if queue.running >= self.busy else "a hedge"
        width = load.room(self.crowd)
        crowded = width == 1 and lane.width is None
        if load.waiting or crowded or (load.slowdown or 1.0) >= self.slow:
            return "one stream"
        lane.narrow(width)
        return "parts" if load.slowdown is None and load.running >= self.busy else "a hedge"

    async def _race(self, graph: Graph) -> None:
        plain = graph.branch(held=True)
        planned = graph.branch(held=True)
        race = _Race(plain, planned)
        race.watch(add_answer(plain))
        try:
            await planned.grow(_Planned(plato=self.plato, race=race))
        except (PlanError, NodeError, BackendError) as error:
            if race.winner is planned:
                raise
            race.won_by_answer(str(error))
        if race.winner is plain:
            await plain.settled()
            plain.check()


class _Race:
    """Which of two branches is the answer; decided once, in one synchronous step."""

    def __init__(self, plain: Graph, planned: Graph) -> None:
        self.winner: Graph | None = None
        self._plain = plain
        self._planned = planned

    def watch(self, answer: Node[str]) -> None:
        """The plain answer wins if it is complete before the planner commits."""

        def ended() -> None:
            if answer.status in ("done", "truncated"):
                self.won_by_answer("the plain answer came first")

        answer.when_ended(ended)

    def won_by_plan(self) -> None:
        """The plan has lines that overlap: the plain stream is no longer wanted."""
        if self.winner is None:
            self.winner = self._planned
            self._planned.run.decided("plato")
            self._plain.abandon()
            self._planned.answer.release()

    def won_by_answer(self, reason: str) -> None:
        """The plan gains nothing: its nodes are no longer wanted."""
        if self.winner is None:
            self.winner = self._plain
            self._plain.run.decided("sequential", reason)
            self._planned.abandon()
            self._plain.answer.release()


class _Planned(Strategy, frozen=True, kw_only=True):
    """Plato, as far as the race lets it go."""

    plato: Plato
    race: _Race

    async def grow(self, graph: Graph) -> None:
        reason = await self.plato.decode(graph, self.race.won_by_plan)
        if reason is not None:
            self.race.won_by_answer(reason)
