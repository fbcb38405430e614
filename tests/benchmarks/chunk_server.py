"""A process that streams what an SGLang server would, as fast as it is told: `chunk_server.py PORT PAUSE`."""

from __future__ import annotations

import asyncio
import json
import sys
from typing import Any

from aiohttp import web

INFO: dict[str, Any] = {"served_model_name": "chunks", "max_total_num_tokens": 1 << 20}


def frame(count: int, last: bool) -> bytes:
    """The event with one more token, of the size that SGLang 0.5.23 gives it."""
    meta: dict[str, Any] = {
        "id": f"{count:032x}",
        "finish_reason": {"type": "length", "length": count} if last else None,
        "prompt_tokens": 40,
        "weight_version": "default",
        "num_retractions": 0,
        "reasoning_tokens": 0,
        "completion_tokens": count,
        "cached_tokens": 39,
        "cached_tokens_details": {"device": 39, "host": 0},
        "dp_rank": None,
    }
    data = {"text": " tea", "output_ids": [300 + count % 64], "meta_info": meta}
    return b"data: " + json.dumps(data, separators=(",", ":")).encode() + b"\n\n"


def app(pause: float) -> web.Application:
    frames: dict[int, list[bytes]] = {}

    async def generate(request: web.Request) -> web.StreamResponse:
        body = await request.json()
        length = int(body["sampling_params"]["max_new_tokens"])
        if length not in frames:
            frames[length] = [frame(count, count == length) for count in range(1, length + 1)]
        response = web.StreamResponse()
        await response.prepare(request)
        for data in frames[length]:
            await response.write(data)
            await asyncio.sleep(pause)
        await response.write(b"data: [DONE]\n\n")
        return response

    async def info(_: web.Request) -> web.Response:
        return web.json_response(INFO)

    async def models(_: web.Request) -> web.Response:
        return web.json_response({"data": [{"max_model_len": 100_000}]})

    found = web.Application()
    found.add_routes(
        [
            web.get("/server_info", info),
            web.get("/v1/models", models),
            web.get("/health", info),
            web.post("/generate", generate),
        ]
    )
    return found


if __name__ == "__main__":
    web.run_app(app(float(sys.argv[2])), host="127.0.0.1", port=int(sys.argv[1]), print=None)
