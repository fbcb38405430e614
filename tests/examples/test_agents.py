"""The examples inside agent frameworks, which are imported only when a test needs one."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Coroutine
from importlib import import_module
from typing import Any

import pytest

import flowdecode
from flowdecode_backends.scripted import Scripted
from tests.examples.engine import DEMO, Watched, fast, hanging
from tests.leaks import no_leaks

pytestmark = [pytest.mark.anyio, pytest.mark.timeout(60)]  # the frameworks take seconds to import

AGENTS = ["langgraph_node", "openai_agents_tool", "pydantic_ai_tool"]
PART = "only part 3,"

Program = Callable[[], Coroutine[Any, Any, None]]
Load = Callable[[str, Scripted], Program]


@pytest.fixture
def load(monkeypatch: pytest.MonkeyPatch) -> Load:
    """Imports an example and gives it an engine; returns its `main`."""

    def load(name: str, backend: Scripted) -> Program:
        module = import_module(f"examples.{name}")
        monkeypatch.setattr(module, "BACKEND", backend)
        main: Program = module.main
        return main

    return load


@pytest.mark.parametrize("name", AGENTS)
async def test_the_report_is_written_in_parallel(
    name: str, load: Load, capsys: pytest.CaptureFixture[str]
) -> None:
    backend = Watched(fast(DEMO))
    main = load(name, backend)
    async with no_leaks(backend):
        await main()
    report = capsys.readouterr().out
    assert "## Origin\n\nTea comes from" in report
    assert DEMO[-2].text in report
    assert backend.peak >= 4
    if name == "langgraph_node":
        assert report.endswith("\n\n285 words\n")


@pytest.mark.parametrize("name", AGENTS)
async def test_an_agent_that_is_cancelled_frees_the_engine(name: str, load: Load) -> None:
    backend = Watched(hanging(fast(DEMO), PART, after_tokens=20))
    main = load(name, backend)
    async with no_leaks(backend):
        agent = asyncio.create_task(main())
        await backend.held_back()
        assert backend.running == 1
        agent.cancel()
        with pytest.raises(asyncio.CancelledError):
            await agent
    assert backend.asked(PART).id in backend.aborted


@pytest.mark.parametrize("name", AGENTS)
async def test_an_engine_that_refuses_ends_the_agent_with_an_error(name: str, load: Load) -> None:
    main = load(name, Scripted([]))
    with pytest.raises(Exception, match="Expected a request that matches a reply of the script"):
        await main()


async def test_who_leaves_a_langgraph_stream_frees_the_engine() -> None:
    module: Any = import_module("examples.langgraph_node")
    backend = Watched(hanging(fast(DEMO), PART, after_tokens=20))
    async with flowdecode.connect(backend) as flow, no_leaks(backend):
        start, context = module.State("Compare tea and coffee"), module.Context(flow)
        stream = module.graph.astream(start, context=context, stream_mode="custom")
        async for text in stream:
            if "black tea" in text:
                break
        await stream.aclose()
        await backend.idle()
    assert backend.asked(PART).id in backend.aborted
