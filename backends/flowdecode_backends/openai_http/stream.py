"""One streamed chat completion: its events as deltas."""

from __future__ import annotations

import re
from collections import deque
from collections.abc import AsyncIterator
from contextlib import AbstractAsyncContextManager, suppress
from types import TracebackType
from typing import TYPE_CHECKING, Any

import msgspec
from openai import APIConnectionError, APIStatusError

from flowdecode.backend import Delta, FinishReason, Request
from flowdecode.errors import BackendError, BackendUnavailable, RequestRejected
from flowdecode.usage import Usage
from flowdecode_backends.openai_http.dialect import request_body
from flowdecode_backends.openai_http.failures import field, message_of, refusal
from flowdecode_backends.tokens import StopStrings

if TYPE_CHECKING:
    from flowdecode_backends.openai_http.backend import OpenAIHTTP

__all__ = ["ChatStream", "unreachable"]

_REASONS: dict[str, FinishReason] = {"length": "length", "abort": "abort"}
"""How engines end, where it is not simply that the answer is complete."""


class _Cached(msgspec.Struct):
    cached_tokens: int | None = None


class _Counts(msgspec.Struct):
    prompt_tokens: int | None = None
    completion_tokens: int | None = None
    prompt_tokens_details: _Cached | None = None


class _Piece(msgspec.Struct):
    content: str | None = None
    reasoning_content: str | None = None
    reasoning: str | None = None


class _Choice(msgspec.Struct):
    delta: _Piece | None = None
    finish_reason: str | None = None


class _Event(msgspec.Struct):
    """A `chat.completion.chunk`, as far as it is read; or an error in its place."""

    choices: list[_Choice] | None = None
    usage: _Counts | None = None
    error: Any = None


_decode = msgspec.json.Decoder(_Event).decode


class ChatStream(AbstractAsyncContextManager["ChatStream"]):
    """One request: context manager and stream in one object. Leaving it early closes the connection."""

    def __init__(self, backend: OpenAIHTTP, request: Request) -> None:
        self.finish_reason: FinishReason | None = None
        self.usage = Usage()
        """Where the engine does not count as it goes, a piece of text counts as a token until the end."""
        self._backend = backend
        self._request = request
        self._stop = StopStrings(request.sampling.stop, encode=lambda text: ())
        self._reason: FinishReason | None = None
        self._failed = False
        self._rest = b""
        """The beginning of a line whose end has not come."""
        self._events: deque[bytes] = deque()
        self._ended = False

    async def __aenter__(self) -> ChatStream:
        backend = self._backend
        body = request_body(self._request, backend.engine.model, backend.dialect)
        self._opened = backend.open(body)
        try:
            response = await self._opened.__aenter__()
        except APIStatusError as error:
            raise backend.safe(
                refusal(error.status_code, error.body or error.response.text, error.response.headers)
            ) from None
        except APIConnectionError as error:
            raise unreachable(error, backend.address) from None
        except (TypeError, ValueError) as error:
            raise RequestRejected(f"Expected a request that JSON can hold: {error}") from error
        except Exception as error:  # the client lets through what befalls the text of a refusal
            raise self._broken(error) from None
        self._bytes: AsyncIterator[bytes] = response.iter_bytes()
        kind = response.headers.get("content-type", "")
        if not kind.startswith("text/event-stream"):
            try:
                text = await response.text()
            except Exception as error:
                raise self._broken(error) from None
            finally:
                await self._opened.__aexit__(None, None, None)
            raise backend.safe(_no_stream(kind, text))
        return self

    async def __aexit__(
        self,
        exc_type: type[BaseException] | None,
        exc: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        if self.finish_reason is None and not self._failed:
            self.finish_reason = "abort"
        await self._opened.__aexit__(exc_type, exc, traceback)

    def __aiter__(self) -> ChatStream:
        return self

    async def __anext__(self) -> Delta:
        try:
            while True:
                while self._events:
                    if text := self._take(self._events.popleft()):
                        return Delta(text)
                if self._ended:
                    break
                await self._read()
        except BackendError:
            self._failed = True
            raise
        if text := self._stop.finish().text:
            return Delta(text)
        self.finish_reason = self._reason
        raise StopAsyncIteration

    async def _read(self) -> None:
        """Wait for more of the stream, and cut it into events."""
        try:
            data = await anext(self._bytes, None)
        except Exception as error:
            raise self._broken(error) from None
        if data is None:
            self._end()
            return
        *lines, self._rest = (self._rest + data).split(b"\n")
        self._events.extend(
            line[5:].strip()
            for line in lines
            if line.startswith(b"data:")  # the rest are comments and names
        )

    def _broken(self, error: Exception) -> BackendUnavailable:
        """The transport failed: with an error of httpx or of httpx2, as the client has it."""
        return BackendUnavailable(
            f"Expected the rest of the answer from {self._backend.address}, the connection failed "
            f"after {self.usage.completion_tokens} tokens: {type(error).__name__}: {error}"
        )

    def _end(self) -> None:
        """The stream is over, whether it is complete or not."""
        self._ended = True
        if self._reason is None:
            raise BackendUnavailable(
                f"Expected a finish reason, the stream from {self._backend.address} ended without one "
                f"after {self.usage.completion_tokens} tokens."
            )

    def _take(self, data: bytes) -> str:
        """The text of one event."""
        if data == b"[DONE]":
            self._end()
            return ""
        try:
            event = _decode(data)
        except (msgspec.DecodeError, UnicodeDecodeError) as error:
            raise BackendUnavailable(
                f"Expected a chunk of a chat completion, got {_shown(data)} "
                f"from {self._backend.address}: {error}"
            ) from None
        if event.error:
            raise self._backend.safe(refusal(_status(event.error), event.error))
        text = ""
        for choice in event.choices or ():
            if piece := choice.delta:
                if piece.content or piece.reasoning_content or piece.reasoning:
                    self._count(1)
                text += self._content(piece.content)
            if choice.finish_reason:
                self._finish(choice.finish_reason)
        if event.usage is not None:
            self._tell(event.usage)
        return text

    def _content(self, content: str | None) -> str:
        """What is certain of an answer with some more of it. A thought is no part of it."""
        if not content:
            return ""
        if self._stop.reached:  # an engine that does not stop by itself is left
            self._reason, self._ended = "stop", True
            return ""
        return self._stop.feed((), content).text

    def _finish(self, reason: str) -> None:
        if reason in ("content_filter", "error"):
            kind = RequestRejected if reason == "content_filter" else BackendUnavailable
            raise kind(f"Expected a whole answer, the engine ended it with the reason {reason!r}.")
        self._reason = "stop" if self._stop.reached else _REASONS.get(reason, "stop")

    def _count(self, tokens: int) -> None:
        self.usage = msgspec.structs.replace(
            self.usage, completion_tokens=self.usage.completion_tokens + tokens
        )

    def _tell(self, counts: _Counts) -> None:
        """Take the engine's own counts."""
        usage, details = self.usage, counts.prompt_tokens_details
        cached = None if details is None else details.cached_tokens
        if cached is not None:
            self._backend.tells_cached_tokens()
        self.usage = Usage(
            prompt_tokens=counts.prompt_tokens or usage.prompt_tokens,
            cached_tokens=cached or usage.cached_tokens,
            completion_tokens=counts.completion_tokens or usage.completion_tokens,
        )


def unreachable(error: APIConnectionError, address: str) -> BackendUnavailable:
    """An engine that was not there, or did not begin to answer in time."""
    cause = error.__cause__ or error
    return BackendUnavailable(
        f"Expected an answer from {address}, got none ({type(cause).__name__}: {cause})."
    )


def _no_stream(kind: str, text: str) -> BackendError:
    """An answer that is no stream: an error after all, or another kind of server."""
    body: Any = text
    with suppress(msgspec.DecodeError):
        body = msgspec.json.decode(text)
    error = field(body, "error")
    if error:
        return refusal(_status(error), error)
    return RequestRejected(
        f"Expected a stream of events, got {kind or 'no content type'}: {message_of(body)} "
        "Is this the address of a chat completions API?"
    )


def _status(error: object) -> int | None:
    """The status that an error carries in itself."""
    code = str(field(error, "code"))
    return int(code) if re.fullmatch("[45][0-9][0-9]", code) else None


def _shown(data: bytes) -> str:
    return repr(data[:80].decode("utf-8", "replace"))
