"""A server of the chat completions API that answers exactly what a test tells it to, on loopback."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Awaitable, Callable, Iterable
from types import TracebackType
from typing import Any

from aiohttp import web

__all__ = ["Answer", "ChatServer", "chunk", "events", "fails", "says", "usage"]

Answer = Callable[[web.Request], Awaitable[web.StreamResponse]]


class ChatServer:
    """Each request gets the next answer, the last one again and again."""

    def __init__(self, *answers: Answer, models: Answer | None = None, owner: str = "sglang") -> None:
        self.answers = list(answers)
        self.models = models or _models(owner)
        self.requests: list[dict[str, Any]] = []
        """The bodies of the chat completions."""
        self.headers: list[dict[str, str]] = []
        """The headers of every request, in lower case."""
        self.asked = asyncio.Event()
        """Set by the first chat completion."""
        self.left = asyncio.Event()
        """Set when a client has gone in the middle of an answer."""

    async def __aenter__(self) -> ChatServer:
        app = web.Application()
        app.router.add_get("/v1/models", self._tell_models)
        app.router.add_post("/v1/chat/completions", self._chat)
        self._runner = web.AppRunner(app, handler_cancellation=True, shutdown_timeout=0.1)
        await self._runner.setup()
        site = web.TCPSite(self._runner, "127.0.0.1", 0)
        await site.start()
        self.port: int = self._runner.addresses[0][1]
        return self

    async def __aexit__(
        self, exc_type: type[BaseException] | None, exc: BaseException | None, traceback: TracebackType | None
    ) -> None:
        await self._runner.cleanup()

    def url(self, query: str = "") -> str:
        return f"openai://127.0.0.1:{self.port}/v1{query}"

    async def _tell_models(self, request: web.Request) -> web.StreamResponse:
        self.headers.append({name.lower(): value for name, value in request.headers.items()})
        return await self.models(request)

    async def _chat(self, request: web.Request) -> web.StreamResponse:
        self.headers.append({name.lower(): value for name, value in request.headers.items()})
        self.requests.append(await request.json())
        self.asked.set()
        answer = self.answers.pop(0) if len(self.answers) > 1 else self.answers[0]
        try:
            return await answer(request)
        except (asyncio.CancelledError, ConnectionResetError):
            self.left.set()
            raise


def chunk(content: str | None = None, finish_reason: str | None = None, **more: Any) -> str:
    """A chunk of a chat completion, as JSON."""
    delta = {} if content is None else {"content": content}
    return json.dumps(
        {"choices": [{"index": 0, "delta": delta, "finish_reason": finish_reason}], **more},
        ensure_ascii=False,
    )


def usage(prompt: int, completion: int, cached: int | None = None) -> str:
    """The last chunk, with the token counts."""
    details = None if cached is None else {"cached_tokens": cached}
    counts = {"prompt_tokens": prompt, "completion_tokens": completion, "total_tokens": prompt + completion}
    return json.dumps({"choices": [], "usage": {**counts, "prompt_tokens_details": details}})


def events(
    *data: str | bytes,
    drop: bool = False,
    hold: bool = False,
    end: str = "\n\n",
    type: str = "text/event-stream",
) -> Answer:
    """Data as events (bytes: as they are); then the connection is dropped or held open, if asked for."""

    async def answer(request: web.Request) -> web.StreamResponse:
        response = web.StreamResponse(headers={"Content-Type": "text/event-stream"})
        await response.prepare(request)
        for each in data:
            await response.write(each if isinstance(each, bytes) else f"data: {each}{end}".encode())
        if drop:
            assert request.transport is not None
            request.transport.abort()
        if hold:
            await asyncio.get_running_loop().create_future()
        return response

    return answer


def says(*pieces: str, prompt: int = 7, cached: int | None = None) -> Answer:
    """A whole answer, in pieces."""
    tokens = len(pieces)
    return events(*map(chunk, pieces), chunk(None, "stop"), usage(prompt, tokens, cached), "[DONE]")


def fails(status: int, body: Any = None, **headers: str) -> Answer:
    """A refusal."""

    async def answer(request: web.Request) -> web.StreamResponse:
        named = {name.replace("_", "-"): value for name, value in headers.items()}
        if isinstance(body, str):
            return web.Response(status=status, text=body, headers=named)
        return web.json_response(body, status=status, headers=named)

    return answer


def _models(owner: str, ids: Iterable[str] = ("tiny",)) -> Answer:
    cards = [{"id": id, "object": "model", "owned_by": owner, "max_model_len": 512} for id in ids]
    return fails(200, {"object": "list", "data": cards})
