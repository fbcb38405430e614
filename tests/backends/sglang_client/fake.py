"""A stand-in for an SGLang server, on loopback: it does exactly what a test tells it to."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncGenerator, Callable, Sequence
from contextlib import asynccontextmanager
from typing import Any

from aiohttp import web

from tests.backends.local.tokenizers import make_tokenizer
from tests.sglang_server.server import free_port

__all__ = ["FakeServer", "Step", "chunk", "serving"]

Step = bytes | dict[str, Any] | asyncio.Event | None
"""Bytes as they are, an event of the stream, something to wait for, or the connection's sudden end."""

INFO: dict[str, Any] = {
    "served_model_name": "fake",
    "version": "0.5.23",
    "page_size": 1,
    "max_req_input_len": 90,
    "max_total_num_tokens": 4096,
    "internal_states": [{"effective_max_running_requests_per_dp": 7}],
    "enable_deterministic_inference": False,
    "something_else": {"that": ["nobody", "reads"]},
}


def chunk(
    ids: Sequence[int],
    completion: int,
    *,
    text: str = "",
    cached: int = 0,
    prompt: int = 10,
    finish: dict[str, Any] | None = None,
) -> dict[str, Any]:
    """One event: `ids` are all so far, or the new ones, of `completion` in all."""
    counts = {"prompt_tokens": prompt, "cached_tokens": cached, "completion_tokens": completion}
    return {"text": text, "output_ids": list(ids), "meta_info": {**counts, "finish_reason": finish}}


class FakeServer:
    """What it has been asked, and what it answers."""

    def __init__(self, **info: Any) -> None:
        self.info: dict[str, Any] | None = {**INFO, **info}
        self.context_length: int | None = 100
        self.steps: Callable[[dict[str, Any]], list[Step]] = lambda _: [
            chunk([5], 1, finish={"type": "length", "length": 1})
        ]
        """The stream that a request gets."""
        self.refusal: web.Response | None = None
        """What the next request gets in place of a stream."""
        self.loads: list[dict[str, Any]] | None = []
        self.knows_abort = True
        self.requests: list[dict[str, Any]] = []
        self.compiled: list[dict[str, Any]] = []
        """Requests that only make the server compile a grammar."""
        self.headers: list[dict[str, str]] = []
        self.aborted: list[str] = []
        self.asked: list[str] = []
        self.closed = asyncio.Event()
        """A client has left a stream."""
        self.app = web.Application(middlewares=[self._note])
        self.app.add_routes(
            [
                web.get("/server_info", self._info),
                web.get("/get_model_info", self._model),
                web.get("/v1/models", self._models),
                web.get("/v1/loads", self._loads),
                web.get("/health", self._health),
                web.post("/generate", self._generate),
                web.post("/abort_request", self._abort),
                web.post("/tokenize", self._tokenize),
            ]
        )

    @web.middleware
    async def _note(self, request: web.Request, handler: Any) -> web.StreamResponse:
        self.asked.append(request.path)
        answer: web.StreamResponse = await handler(request)
        return answer

    async def _info(self, _: web.Request) -> web.Response:
        return web.json_response(self.info) if self.info is not None else web.Response(status=404)

    async def _model(self, _: web.Request) -> web.Response:
        return web.json_response({"model_path": "fake", "served_model_name": "behind"})

    async def _models(self, _: web.Request) -> web.Response:
        return web.json_response({"data": [{"id": "fake", "max_model_len": self.context_length}]})

    async def _loads(self, _: web.Request) -> web.Response:
        return (
            web.json_response({"loads": self.loads}) if self.loads is not None else web.Response(status=404)
        )

    async def _health(self, _: web.Request) -> web.Response:
        return web.Response()

    async def _abort(self, request: web.Request) -> web.Response:
        if not self.knows_abort:
            return web.Response(status=404)
        self.aborted.append((await request.json())["rid"])
        return web.Response()

    async def _tokenize(self, request: web.Request) -> web.Response:
        body = await request.json()
        self.requests.append(body)
        ids = make_tokenizer().encode(" ".join(message["content"] for message in body["messages"]))
        return web.json_response({"tokens": ids, "count": len(ids)})

    async def _generate(self, request: web.Request) -> web.StreamResponse:
        body = await request.json()
        if not body.get("stream"):
            self.compiled.append(body)
            return web.json_response(chunk([5], 1))
        self.requests.append(body)
        self.headers.append(dict(request.headers))
        if self.refusal is not None:
            refusal, self.refusal = self.refusal, None
            return refusal
        response = web.StreamResponse(headers={"Content-Type": "text/event-stream"})
        await response.prepare(request)
        try:
            for step in self.steps(body):
                if step is None:
                    assert request.transport is not None
                    request.transport.abort()
                    return response
                if isinstance(step, asyncio.Event):
                    await step.wait()
                else:
                    await response.write(step if isinstance(step, bytes) else event(step))
            await response.write(b"data: [DONE]\n\n")
        except (asyncio.CancelledError, ConnectionError):
            self.closed.set()
            raise
        return response


def event(data: dict[str, Any]) -> bytes:
    return b"data: " + json.dumps(data).encode() + b"\n\n"


@asynccontextmanager
async def serving(server: FakeServer, port: int | None = None) -> AsyncGenerator[str]:
    """Serve it while the block runs; gives its URL."""
    port = port or free_port()
    runner = web.AppRunner(server.app, handler_cancellation=True, shutdown_timeout=1.0)
    await runner.setup()
    await web.TCPSite(runner, "127.0.0.1", port).start()
    try:
        yield f"http://127.0.0.1:{port}"
    finally:
        await runner.cleanup()
