"""The handles of runs and graphs, as their users hold them."""

from __future__ import annotations

import anyio
import pytest

import flowdecode
from flowdecode_backends.scripted import Reply, Scripted

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
