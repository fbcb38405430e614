"""What a method sends its requests with, and what is measured of them."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Coroutine, Mapping
from itertools import count
from typing import Any, NamedTuple

from flowdecode.backend import Backend, Grammar, Request
from flowdecode.context import Block, Context
from flowdecode.prompt import Prompt
from flowdecode.sampling import SamplingParams
from flowdecode.usage import Usage
from flowdecode_graphs.prompts import Prompts
from tests.benchmarks.forced_plan import ForcedPlan
from tests.benchmarks.methods.measured import Measured

__all__ = ["Client", "Method", "Written", "measure", "together"]

_numbers = count()


class Written(NamedTuple):
    """What one request, or one part of it, decoded."""

    block: Block
    times: list[float]
    """When its tokens came."""


class Client:
    """Requests to an open backend, without the runtime. `system` begins every prompt."""

    def __init__(self, backend: Backend, system: str) -> None:
        self.prompts = Prompts.for_engine(backend.engine)
        self.system = system
        self.usages: list[Usage] = []
        self._backend = backend
        self._run = f"run{next(_numbers)}"

    def context(self, *blocks: Block) -> Context:
        """A conversation behind the system message."""
        return Context.of([Block("system", self.system), *blocks])

    def asked(self, plan: ForcedPlan) -> Context:
        """What Plato's planner and parts begin with: the question, behind the rules."""
        return Context.of(Prompt.read(plan.question, system=self.system).with_rules(self.prompts.rules))

    async def decode(
        self,
        context: Context,
        *,
        tokens: int | None = None,
        grammar: Grammar | None = None,
        read: Callable[[str], object] = lambda text: None,
    ) -> Written:
        """One request of so many `tokens`, or under a grammar; `read` is told the text as it comes."""
        request = Request(
            id=f"{self._run}-{next(_numbers)}-",
            run_id=self._run,
            context=context,
            sampling=SamplingParams(temperature=0.0, max_tokens=tokens),
            grammar=grammar,
        )
        texts: list[str] = []
        ids: list[int] = []
        times: list[float] = []
        clock = asyncio.get_running_loop().time
        async with self._backend.decode(request) as stream:
            async for delta in stream:
                texts.append(delta.text)
                ids += delta.tokens
                times += [clock()] * len(delta.tokens)
                read(delta.text)
        self.usages.append(stream.usage)
        return Written(Block("assistant", "".join(texts), tuple(ids)), times)


Method = Callable[[Client, ForcedPlan], Coroutine[Any, Any, Mapping[int, Written]]]
"""Writes the parts of a plan; returns them by their numbers."""


async def together(parts: Mapping[int, Awaitable[Written]]) -> dict[int, Written]:
    """Wait for several parts."""
    return dict(zip(parts, await asyncio.gather(*parts.values()), strict=True))


async def measure(method: Method, backend: Backend, plan: ForcedPlan, system: str) -> Measured:
    """One answer by a method."""
    client = Client(backend, system)
    clock = asyncio.get_running_loop().time
    start = clock()
    parts = await method(client, plan)
    seconds = clock() - start
    assert [len(parts[number].times) for number in plan.parts] == plan.lengths, parts
    usage = Usage.total(client.usages)
    first = parts[min(parts)].times
    return Measured(
        seconds,
        len(client.usages),
        usage.prompt_tokens,
        usage.cached_tokens,
        usage.completion_tokens,
        first[0] - start,
        first[-1] - start,
        prefilled=usage.prompt_tokens - usage.cached_tokens,
    )
