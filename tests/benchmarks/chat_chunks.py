"""What a streamed chunk of `openai://` costs in CPU time, beside bare aiohttp and the official client.

A server in a process of its own streams chunks as SGLang writes them: one to a packet, 250 a second.
"""

from __future__ import annotations

import asyncio
import json
import sys
import time
from collections.abc import AsyncGenerator, Callable, Coroutine
from contextlib import asynccontextmanager
from functools import partial
from typing import Any

import aiohttp
import msgspec
from aiohttp import web
from openai import AsyncOpenAI

import flowdecode
from flowdecode.backend import Request
from flowdecode.context import Block, Context
from flowdecode.plugins import open_backend
from flowdecode.sampling import SamplingParams
from tests.benchmarks.measure import Case, interleaved, table

__all__ = ["main"]

CHUNKS = 100
PACE = 0.004

_DELTA = {"role": None, "reasoning_content": None, "content": " word"}
_CHOICE = {"index": 0, "delta": _DELTA, "logprobs": None, "finish_reason": None, "matched_stop": None}
_CHUNK: dict[str, Any] = {
    "id": "0" * 32,
    "object": "chat.completion.chunk",
    "created": 0,
    "model": "m",
    "choices": [_CHOICE],
}
_END: dict[str, Any] = {**_CHUNK, "choices": [{"index": 0, "delta": {}, "finish_reason": "stop"}]}

Read = Callable[[], Coroutine[Any, Any, int]]
"""Reads one answer; returns the pieces of text that it had."""


class _Delta(msgspec.Struct):
    content: str | None = None


class _Choice(msgspec.Struct):
    delta: _Delta


class _Chunk(msgspec.Struct):
    choices: list[_Choice]


_decode = msgspec.json.Decoder(_Chunk).decode


async def main(*, quick: bool) -> str:
    """The table."""
    rows: list[tuple[object, ...]] = []
    async with _server() as address:
        for streams in (1, 64) if quick else (1, 64, 256):
            cases: dict[str, Case] = {
                "bare aiohttp + msgspec": partial(_bare, address, streams),
                "`openai://`, a decode": partial(_backend, address, streams),
                "`openai://`, a whole run": partial(_runs, address, streams),
                "the official client's stream": partial(_official, address, streams),
            }
            samples = await interleaved(cases, rounds=1 if quick else 3)
            rows += [(streams, name, sample) for name, sample in samples.items()]
    return table(["streams", "client", "CPU, µs a chunk"], rows)


async def _measured(read: Read, streams: int) -> float:
    assert await read() == CHUNKS  # connects
    start = time.process_time()
    assert set(await asyncio.gather(*(read() for _ in range(streams)))) == {CHUNKS}
    return (time.process_time() - start) / (streams * CHUNKS) * 1e6


async def _bare(address: str, streams: int) -> float:
    async with aiohttp.ClientSession(connector=aiohttp.TCPConnector(limit=0)) as session:

        async def read() -> int:
            body = {"model": "m", "messages": [{"role": "user", "content": "?"}], "stream": True}
            pieces = 0
            async with session.post(f"http://{address}/v1/chat/completions", json=body) as response:
                async for line in response.content:
                    if line.startswith(b"data: {"):
                        pieces += bool(_decode(line[6:]).choices[0].delta.content)
            return pieces

        return await _measured(read, streams)


async def _backend(address: str, streams: int) -> float:
    async with open_backend(f"openai://{address}/v1?model=m&engine=vllm") as backend:

        async def read() -> int:
            context = Context(Block("user", "?"))
            request = Request(id="r", run_id="run", context=context, sampling=SamplingParams())
            async with backend.decode(request) as decoding:
                return sum([1 async for _ in decoding])

        return await _measured(read, streams)


async def _runs(address: str, streams: int) -> float:
    async with flowdecode.connect(f"openai://{address}/v1?model=m&engine=vllm") as flow:

        async def read() -> int:
            result = await flow.run("?", strategy="sequential")
            return result.text.count(" word")

        return await _measured(read, streams)


async def _official(address: str, streams: int) -> float:
    async with AsyncOpenAI(api_key="none", base_url=f"http://{address}/v1") as client:

        async def read() -> int:
            stream = await client.chat.completions.create(
                model="m", messages=[{"role": "user", "content": "?"}], stream=True
            )
            return sum([1 async for chunk in stream if chunk.choices[0].delta.content])

        return await _measured(read, streams)


@asynccontextmanager
async def _server() -> AsyncGenerator[str, None]:
    """The address of a server, in another process, so that its work is not counted."""
    process = await asyncio.create_subprocess_exec(
        sys.executable, "-m", "tests.benchmarks.chat_chunks", stdout=asyncio.subprocess.PIPE
    )
    assert process.stdout is not None
    try:
        yield (await process.stdout.readline()).decode().strip()
    finally:
        process.terminate()
        await process.wait()


async def _serve() -> None:
    async def answer(request: web.Request) -> web.StreamResponse:
        await request.read()
        response = web.StreamResponse(headers={"Content-Type": "text/event-stream"})
        await response.prepare(request)
        chunk = f"data: {json.dumps(_CHUNK)}\n\n".encode()
        for _ in range(CHUNKS):
            await response.write(chunk)
            await asyncio.sleep(PACE)
        await response.write(f"data: {json.dumps(_END)}\n\ndata: [DONE]\n\n".encode())
        return response

    app = web.Application()
    app.router.add_post("/v1/chat/completions", answer)
    runner = web.AppRunner(app)
    await runner.setup()
    await web.TCPSite(runner, "127.0.0.1", 0).start()
    print("{}:{}".format(*runner.addresses[0]), flush=True)
    await asyncio.get_running_loop().create_future()


if __name__ == "__main__":
    asyncio.run(_serve())
