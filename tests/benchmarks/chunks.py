"""The client's CPU per streamed chunk: the whole runtime beside bare aiohttp and msgspec."""

from __future__ import annotations

import asyncio
import sys
import tempfile
import time
from collections.abc import Sequence
from functools import partial
from pathlib import Path

import aiohttp
import msgspec

import flowdecode
from flowdecode.backend import Request
from flowdecode.context import Block, Context
from flowdecode.sampling import SamplingParams
from flowdecode_backends.sglang_client import SGLang
from flowdecode_backends.sglang_client.reading import Chunk
from tests.benchmarks import chunk_server
from tests.benchmarks.measure import Case, interleaved, table
from tests.sglang_server.model import save_random
from tests.sglang_server.server import free_port

__all__ = ["main"]

CHUNKS = {1: 3_000, 64: 200, 256: 200}
"""Of each stream, by the number of streams."""
PAUSE = {1: 0.0005, 64: 0.01, 256: 0.03}
"""Seconds between two chunks of a stream: an engine's step."""


async def bare(url: str, streams: int, length: int) -> float:
    """µs a chunk for bare loops that decode every chunk."""
    decoder = msgspec.json.Decoder(Chunk)
    body = {"input_ids": [1, 2, 3], "sampling_params": {"max_new_tokens": length}, "stream": True}

    async def read(session: aiohttp.ClientSession) -> None:
        async with session.post(url + "/generate", json=body) as response:
            rest = b""
            while data := await response.content.readany():
                *events, rest = (rest + data).split(b"\n\n")
                for event in events:
                    if event != b"data: [DONE]":
                        decoder.decode(event[6:])

    async with aiohttp.ClientSession(connector=aiohttp.TCPConnector(limit=0)) as session:
        start = time.process_time()
        await asyncio.gather(*(read(session) for _ in range(streams)))
        return (time.process_time() - start) / (streams * length) * 1e6


async def backend_alone(url: str, model: Path, streams: int, length: int) -> float:
    """µs a chunk for `decode` of the backend, without the runtime."""

    async def read(backend: SGLang, number: int) -> None:
        context = Context(Block("user", f"{number}?"))
        sampling = SamplingParams(max_tokens=length)
        async with backend.decode(
            Request(id=f"{number:08}", run_id="1", context=context, sampling=sampling)
        ) as d:
            async for _ in d:
                pass

    async with SGLang(url, tokenizer=str(model)) as backend:
        start = time.process_time()
        await asyncio.gather(*(read(backend, number) for number in range(streams)))
        return (time.process_time() - start) / (streams * length) * 1e6


async def whole_runtime(url: str, model: Path, streams: int, length: int) -> float:
    """µs a chunk for nodes of a graph, with events and a record each."""
    async with flowdecode.connect(SGLang(url, tokenizer=str(model))) as flow:
        start = time.process_time()
        async with flow.graph() as graph:
            for number in range(streams):
                graph.decode(f"{number}?", sampling={"max_tokens": length})
        return (time.process_time() - start) / (streams * length) * 1e6


async def main(*, quick: bool) -> str:
    """The table."""
    rows: list[Sequence[object]] = []
    with tempfile.TemporaryDirectory() as folder:
        model = save_random(Path(folder))
        for streams, chunks in CHUNKS.items():
            length = chunks // 10 if quick else chunks
            port = free_port()
            command = [sys.executable, chunk_server.__file__, str(port), str(PAUSE[streams])]
            server = await asyncio.create_subprocess_exec(*command)
            try:
                url = f"http://127.0.0.1:{port}"
                await _up(url)
                cases: dict[str, Case] = {
                    "bare": partial(bare, url, streams, length),
                    "backend": partial(backend_alone, url, model, streams, length),
                    "runtime": partial(whole_runtime, url, model, streams, length),
                }
                took = await interleaved(cases, rounds=1 if quick else 5)
            finally:
                server.kill()
                await server.wait()
            more = took["runtime"].median - took["bare"].median
            rows.append([streams, took["bare"], took["backend"], took["runtime"], f"{more:.1f}"])
    columns = [
        "streams",
        "bare aiohttp + msgspec, µs",
        "`sglang://` alone, µs",
        "the whole runtime, µs",
        "more",
    ]
    return table(columns, rows)


async def _up(url: str) -> None:
    async with aiohttp.ClientSession() as session:
        for _ in range(200):
            try:
                async with session.get(url + "/health"):
                    return
            except aiohttp.ClientConnectionError:
                await asyncio.sleep(0.05)
    raise RuntimeError(f"Expected the chunk server at {url}, it did not come up.")
