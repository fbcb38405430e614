"""One request to an SGLang server: context manager and stream in one object."""

from __future__ import annotations

import asyncio
from contextlib import suppress
from types import TracebackType
from typing import TYPE_CHECKING

import aiohttp
import anyio
import msgspec

from flowdecode.backend import Request
from flowdecode.errors import BackendUnavailable
from flowdecode_backends.sglang_client.connection import LOST
from flowdecode_backends.sglang_client.generation import LAST_CHUNK, Generation
from flowdecode_backends.sglang_client.reading import UNREADABLE, Chunk, Reading

if TYPE_CHECKING:
    from flowdecode_backends.sglang_client.backend import SGLang

__all__ = ["SGLangStream"]

_decoder = msgspec.json.Decoder(Chunk)
_DATA, _DONE = b"data: ", b"[DONE]"


class SGLangStream(Generation):
    """A decode over `/generate`; it is aborted in the server when it is left early."""

    def __init__(self, backend: SGLang, request: Request) -> None:
        self._backend = backend
        self._request = request
        self._response: aiohttp.ClientResponse | None = None
        self._rest = b""
        self._events: list[bytes] = []
        """Events that have come and are not read yet, the last one first."""
        self._aborted = False

    async def __aenter__(self) -> SGLangStream:
        backend, request = self._backend, self._request
        prompt = await backend.prompt(request)
        self.begin(backend.warming, Reading(backend.tokens, prompt, request.sampling.stop), prompt)
        body = backend.body(request, prompt)
        await self.turn()
        try:
            self._response = await backend.connection.stream("/generate", body, backend.headers(request))
        except BaseException as error:
            self.through(prefilled=False)
            if isinstance(error, asyncio.CancelledError):  # it may have reached the server
                with anyio.move_on_after(LAST_CHUNK, shield=True):
                    await backend.connection.abort(request.id)
            raise
        return self

    async def __aexit__(
        self,
        exc_type: type[BaseException] | None,
        exc: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        reading, response = self._reading, self._response
        assert response is not None
        self.through(prefilled=False)
        try:
            if self.finish_reason is None:
                self.finish_reason = "abort"
            if not (reading.ended or self._aborted or isinstance(exc, BackendUnavailable)):
                await self._abort()
            self.left()
        finally:
            if reading.ended and response.content.at_eof():
                response.release()
            else:
                response.close()

    async def chunk(self) -> Chunk:
        """The next event. Raises BackendUnavailable where the stream ends without its last one."""
        while not self._events:
            await self._more()
        event = self._events.pop()
        try:
            return _decoder.decode(event)
        except UNREADABLE as error:
            raise BackendUnavailable(
                f"Expected a chunk of an SGLang stream, got {event[:200]!r}: {error}"
            ) from None

    async def _more(self) -> None:
        """Wait for bytes, and split them into events."""
        response = self._response
        assert response is not None
        try:
            data = await response.content.readany()
        except LOST as error:
            raise self._backend.connection.unreachable(error) from error
        if not data:
            raise BackendUnavailable(
                "Expected the SGLang stream to go on, the server has closed it. Has it been stopped?"
            )
        *events, self._rest = (self._rest + data).split(b"\n\n")
        self._events += [
            event[len(_DATA) :]
            for event in reversed(events)
            if event.startswith(_DATA) and event[6:] != _DONE
        ]

    async def complete(self) -> None:
        """Behind the answer: let the server's last chunk count, and its connection serve again."""
        reading, response = self._reading, self._response
        assert response is not None
        if not reading.ended:  # our stop string came in a piece that the server goes on behind
            await self._abort()
        elif not response.content.at_eof():
            with suppress(*LOST):  # the answer is complete, whatever becomes of its connection
                async with asyncio.timeout(LAST_CHUNK):
                    await response.read()

    async def _abort(self) -> None:
        self._aborted = True
        await self._backend.connection.abort(self._request.id)
        await self.last_chunk()
