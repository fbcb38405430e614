"""A server behind the gateway dies in the middle of many runs. These tests come last: they end it."""

from __future__ import annotations

import asyncio
from pathlib import Path

import pytest

import flowdecode
from flowdecode.sampling import Sampling
from tests.leaks import no_leaks
from tests.sglang.test_gateway import RUNS, check_complete, one_run
from tests.sglang_server.server import Gateway, Server

LONGER: Sampling = {"max_tokens": 96, "temperature": 0}

pytestmark = [pytest.mark.anyio, pytest.mark.timeout(240)]


async def test_a_server_that_dies_costs_time_and_no_answer(
    servers: tuple[Server, Server], logs: Path
) -> None:
    with Gateway(servers, logs / "loss.log", "--policy", "round_robin") as gateway:
        gateway.wait()
        url = f"openai://{gateway.address}/v1?engine=sglang"
        async with no_leaks(), flowdecode.connect(url, concurrency=16) as flow:
            halfway = asyncio.Event()
            runs = [asyncio.create_task(one_run(flow, number, LONGER, halfway)) for number in range(RUNS)]
            await halfway.wait()
            await asyncio.to_thread(servers[1].stop)
            results = await asyncio.gather(*runs)
    check_complete(results)
    attempts = sum(record.attempts for result in results for record in result.nodes)
    assert attempts > sum(len(result.nodes) for result in results), "the server died too late"
