"""The handles of runs and graphs, as their users hold them."""

from __future__ import annotations

import asyncio

import anyio
import pytest

import flowdecode
from flowdecode.errors import ConfigurationError
from flowdecode_backends.scripted import Reply, Scripted
from flowdecode_backends.simulated import Simulated

pytestmark = pytest.mark.anyio


async def test_a_reader_can_be_cancelled_though_an_event_comes_at_every_turn() -> None:
    engine = Scripted([Reply("word " * 100_000, pace=0)])
    read = 0
    async with flowdecode.stream("?", backend=engine, strategy="sequential") as run:
        with anyio.CancelScope() as scope:
            async for _ in run.text:
                read += 1
                if read == 5:
                    scope.cancel()
    assert scope.cancelled_caught
    assert read < 100
    assert engine.running == 0


async def test_nodes_in_a_list_are_parents_and_stand_for_their_outputs() -> None:
    async def lengths(texts: list[str], more: tuple[str, ...]) -> list[int]:
        return [*map(len, texts), *map(len, more)]

    engine = Scripted([Reply("one", match="First"), Reply("three", match="Second"), Reply("joined")])
    async with flowdecode.connect(engine) as flow, flow.graph() as graph:
        first, second = graph.decode("First?"), graph.decode("Second?")
        joined = graph.decode("Join:\n{parts}", parts=[first, second, "and more"])
        counted = graph.call(lengths, [first, second], (second,))
    assert joined.parents == counted.parents == (first, second)
    assert engine.requests[-1].context.messages()[-1]["content"] == "Join:\none\n\nthree\n\nand more"
    assert counted.output == [3, 5, 5]


async def test_an_engine_may_be_shared_by_runs_that_end_at_different_times() -> None:
    engine = Simulated(replies=lambda request: "word " * (5 if "short" in request.context.block.text else 40))
    short, long = await asyncio.gather(
        flowdecode.run("short", backend=engine, strategy="sequential"),
        flowdecode.run("long", backend=engine, strategy="sequential"),
    )
    assert [record.attempts for result in (short, long) for record in result.nodes] == [1, 1]


async def test_a_budget_that_fits_is_enough_and_a_cut_answer_says_so() -> None:
    engine = Scripted([Reply("one two three four five")])
    settings = {"backend": engine, "strategy": "sequential"}
    for limits, status in (
        ({"token_budget": 5}, "done"),
        ({"token_budget": 4}, "partial"),
        ({"max_tokens": 5}, "done"),
        ({"max_tokens": 4}, "truncated"),
    ):
        result = await flowdecode.run("?", **settings, **limits)  # type: ignore[arg-type]
        assert result.status == status


async def test_a_node_in_an_f_string_is_an_error() -> None:
    async with flowdecode.connect(Scripted([Reply("x")])) as flow, flow.graph() as graph:
        node = graph.decode("?")
        with pytest.raises(ConfigurationError, match="in place of an f-string"):
            graph.decode(f"Hi {node}")
