"""An SGLang answer, read: chunks, in either streaming form, become deltas."""

from __future__ import annotations

from collections.abc import Sequence

import msgspec

from flowdecode.backend import Delta, FinishReason
from flowdecode.errors import BackendError, BackendUnavailable, RateLimited, RequestRejected
from flowdecode.usage import Usage
from flowdecode_backends.tokens import ChatTokens, Detokenizer, StopStrings

__all__ = ["UNREADABLE", "Chunk", "Reading", "failure"]

UNREADABLE = (msgspec.DecodeError, UnicodeDecodeError)
"""What reading an answer fails with that is not what was expected."""


class Finish(msgspec.Struct):
    """Why a request ended."""

    type: str
    matched: int | str | list[int] | None = None
    """The stop token, or the stop string."""
    message: str = ""
    status_code: int | None = None


class Meta(msgspec.Struct):
    """A chunk's counts, all from the beginning of the request."""

    prompt_tokens: int = 0
    completion_tokens: int = 0
    cached_tokens: int = 0
    finish_reason: Finish | None = None


class Refusal(msgspec.Struct):
    """A stream begins before the server has checked the request, so that it refuses it in the stream."""

    message: str = ""
    code: int = 400


class Chunk(msgspec.Struct):
    """One event of the stream. `text` and `output_ids` are all so far, or what is new, as the server runs."""

    text: str | None = ""
    output_ids: list[int] = []
    meta_info: Meta = msgspec.field(default_factory=Meta)
    error: Refusal | None = None


class Reading:
    """One request's answer so far."""

    def __init__(self, tokens: ChatTokens | None, prompt: Sequence[int], stop: Sequence[str]) -> None:
        """Without `tokens` the server's own text is taken, and deltas have no ids."""
        self.finish_reason: FinishReason | None = None
        """Known once all has come that the answer is made of."""
        self.ended = False
        """Whether the server's last chunk has come."""
        self.ids: list[int] = []
        """All ids that were sampled, the stop token included."""
        self._meta = Meta(prompt_tokens=len(prompt))
        self._detokenizer = None if tokens is None else Detokenizer(tokens, before=prompt, stop=stop)
        self._stops = StopStrings(stop, _no_ids)
        self._characters = 0

    @property
    def usage(self) -> Usage:
        meta = self._meta
        return Usage(
            prompt_tokens=meta.prompt_tokens,
            cached_tokens=meta.cached_tokens,
            completion_tokens=meta.completion_tokens,
        )

    def feed(self, chunk: Chunk) -> Delta:
        """What is certain with one more chunk. Raises BackendError where the chunk tells of a failure."""
        if chunk.error is not None:
            raise failure(chunk.error.code, chunk.error.message)
        meta = self._meta = chunk.meta_info
        finish = meta.finish_reason
        if finish is not None:
            self.ended = True
            if finish.type == "abort" and finish.status_code is not None:
                raise failure(finish.status_code, finish.message)
        if self.finish_reason is not None:
            return Delta("")  # a stop string has ended the text; the rest only counts
        before = len(self.ids)
        new = chunk.output_ids[max(0, len(chunk.output_ids) - (meta.completion_tokens - before)) :]
        self.ids += new
        if self._detokenizer is not None:
            delta = self._decoded(new, finish)
        else:
            text, cumulative = chunk.text or "", len(chunk.output_ids) > len(new)
            piece = text[self._characters :] if cumulative else text
            self._characters += len(piece)
            delta = self._stops.feed((), piece)
            if finish is not None and not self._stops.reached:
                delta = Delta(delta.text + self._stops.finish().text)
        if self._stopped:
            self.finish_reason = "stop"
        elif finish is not None:
            self.finish_reason = _REASONS.get(finish.type, "stop")
        return delta

    @property
    def _stopped(self) -> bool:
        return self._stops.reached if self._detokenizer is None else self._detokenizer.stopped

    def _decoded(self, new: list[int], finish: Finish | None) -> Delta:
        detokenizer = self._detokenizer
        assert detokenizer is not None
        if finish is None and len(new) == 1:
            return detokenizer.feed(new[0])
        if finish is not None and isinstance(finish.matched, int) and new[-1:] == [finish.matched]:
            new = new[:-1]  # the turn's end, which the template writes into the conversation
        deltas: list[Delta] = []
        for token in new:
            deltas.append(detokenizer.feed(token))
            if detokenizer.stopped:
                break
        if finish is not None and not detokenizer.stopped:
            deltas.append(detokenizer.finish())
        return Delta(
            "".join(delta.text for delta in deltas),
            tuple(token for delta in deltas for token in delta.tokens),
        )


def failure(status: int, message: str, retry_after: float | None = None) -> BackendError:
    """The error that an HTTP status stands for."""
    said = message.strip()[:500] or "no reason"
    if status == 429:
        return RateLimited(f"The SGLang server asks to slow down: {said}", retry_after=retry_after)
    if status == 408 or status >= 500:
        error = BackendUnavailable(f"Expected an answer, the SGLang server said {status}: {said}")
        error.retry_after = retry_after
        return error
    if status in (401, 403):
        return RequestRejected(
            f"The SGLang server wants another API key (`api_key=`), it said {status}: {said}"
        )
    return RequestRejected(f"The SGLang server refused the request, it said {status}: {said}")


def _no_ids(_: str) -> tuple[int, ...]:
    return ()


_REASONS: dict[str, FinishReason] = {"stop": "stop", "length": "length", "abort": "abort"}
