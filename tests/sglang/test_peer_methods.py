"""The methods that `python -m tests.benchmarks methods` compares, on the real server, with short parts."""

from __future__ import annotations

import asyncio

import pytest

from flowdecode_graphs.prompts import Prompts
from tests.benchmarks.forced_engines import EndlessSGLang
from tests.benchmarks.forced_plan import ForcedPlan, Part
from tests.benchmarks.methods import plato
from tests.benchmarks.methods.client import measure
from tests.benchmarks.methods.fork import open_fork
from tests.benchmarks.methods.measured import Measured
from tests.benchmarks.peer_methods import METHODS
from tests.sglang_server.server import Server

pytestmark = pytest.mark.timeout(120)

PLAN = ForcedPlan(
    "Compare the food and the craft of Yarralda.",
    {1: Part("Food", 8), 2: Part("Craft", 14), 3: Part("Verdict", 6, (1, 2))},
)


def plan_tokens(backend: EndlessSGLang) -> int:
    """What the planner decodes: the plan's own tokens, and the one that ends its answer."""
    assert backend.tokens is not None
    return len(backend.tokens.encode(PLAN.text)) + 1


@pytest.mark.parametrize("method", METHODS)
def test_methods_write_every_part_at_its_length(server: Server, method: str) -> None:
    async def main() -> Measured:
        backend = EndlessSGLang(server.url, warm=0)
        async with backend:
            return await measure(METHODS[method], backend, PLAN, f"Session {method}.")

    measured = asyncio.run(main())
    assert measured.decoded >= sum(PLAN.lengths)
    assert 0 < measured.first_token < measured.first_part < measured.seconds


def test_plato_and_fork_decode_the_same(server: Server) -> None:
    async def main() -> tuple[Measured, Measured, int]:
        backend = EndlessSGLang(server.url)
        async with backend:
            assert backend.tokens is not None
            ours = await plato.measure(backend, PLAN, "Session plato.")
            async with open_fork(server.url, backend.tokens.tokenizer) as fork:
                prompts = Prompts.for_engine(backend.engine)
                return ours, await fork.measure(PLAN, "Session fork.", prompts), plan_tokens(backend)

    ours, forked, planned = asyncio.run(main())
    assert ours.decoded == forked.decoded == sum(PLAN.lengths) + planned
    assert ours.requests == 4
    assert forked.requests == 5, "one more, which has the server cache what the two forks share"
