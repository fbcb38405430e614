"""Replies: what the scripted and the simulated backend answer, to which request, and how it goes wrong."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterable
from functools import lru_cache
from pathlib import Path
from typing import Annotated, Literal, NoReturn

import msgspec

from flowdecode.backend import Capabilities, Delta, Engine, FinishReason, Request
from flowdecode.context import Context
from flowdecode.errors import (
    BackendError,
    BackendUnavailable,
    ConfigurationError,
    ContextTooLong,
    RateLimited,
    RequestRejected,
)
from flowdecode_backends import words

__all__ = [
    "ALL_CAPABILITIES",
    "Answer",
    "Fault",
    "FaultKind",
    "Replies",
    "Reply",
    "Script",
    "admit",
    "answer",
    "asked",
    "failure",
    "read_replies",
    "strike",
]

ALL_CAPABILITIES = Capabilities(
    token_ids=True, assistant_prefill=True, grammar=True, priority=True, cached_tokens=True
)
"""What both backends honour, if not told otherwise."""

FaultKind = Literal["unavailable", "rate_limited", "rejected", "context_too_long", "drop", "hang"]
Seconds = Annotated[float, msgspec.Meta(ge=0)]
Count = Annotated[int, msgspec.Meta(ge=0)]


class Fault(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """What goes wrong with a reply, and when."""

    after_tokens: Count = 0
    """Tokens that still arrive; a reply that ends before ends well."""
    error: FaultKind = "unavailable"
    """An error by name; `drop` is a connection lost in the stream, `hang` a stream that falls silent.

    Where no token arrives before, the others are raised already when the stream is opened.
    """
    retry_after: Seconds | None = None

    @property
    def refuses(self) -> bool:
        """Whether the stream does not even open."""
        return self.after_tokens == 0 and self.error not in ("drop", "hang")


class Reply(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """One answer of a script."""

    text: str
    match: str | None = None
    """A part of what the request asks (`asked`); None answers anything."""
    delay: Seconds = 0.0
    """Seconds to the first token."""
    pace: Seconds | None = None
    """Seconds between tokens. 0 lets other tasks run between tokens, None does not even that."""
    fault: Fault | None = None
    times: Count | None = None
    """How many requests it answers; None: any number."""
    finish_reason: FinishReason = "stop"


Replies = Iterable[Reply] | Callable[[Request], Reply | str]


class Script:
    """Replies in order: the first one that matches and isn't used up answers, however short its match."""

    def __init__(self, replies: Replies) -> None:
        self._choose = replies if callable(replies) else None
        self._replies = [] if callable(replies) else list(replies)
        self._left = [reply.times for reply in self._replies]

    def reply(self, request: Request) -> Reply:
        """The reply to a request. Raises RequestRejected, which lists what would have matched."""
        if self._choose is not None:
            chosen = self._choose(request)
            return Reply(chosen) if isinstance(chosen, str) else chosen
        question: str | None = None
        for index, reply in enumerate(self._replies):
            left = self._left[index]
            if left == 0:
                continue
            if reply.match is not None:
                question = asked(request.context) if question is None else question
                if reply.match not in question:
                    continue
            if left is not None:
                self._left[index] = left - 1
            return reply
        raise RequestRejected(
            f"Expected a request that matches a reply of the script ({self._matches()}), "
            f"got {asked(request.context)!r} - at request {request.id!r}."
        )

    def _matches(self) -> str:
        matches = [
            ("anything" if reply.match is None else repr(reply.match)) + (" (used up)" if left == 0 else "")
            for reply, left in zip(self._replies, self._left, strict=True)
        ]
        return ", ".join(matches) or "it is empty"


class Answer(msgspec.Struct, frozen=True):
    """The deltas of one request, a token each, and how they end."""

    deltas: tuple[Delta, ...]
    finish_reason: FinishReason
    fault: Fault | None = None
    """What strikes behind the last delta, in place of an end."""


def asked(context: Context) -> str:
    """The text of the last turn that is not the assistant's."""
    texts: list[str] = []
    role = None
    for prefix in context.prefixes():
        block = prefix.block
        if role is not None and block.role != role:
            break
        if block.role != "assistant":
            role = block.role
            texts.append(block.text)
    return "".join(reversed(texts))


def admit(request: Request, engine: Engine) -> tuple[int, ...]:
    """The prompt of a request that `engine` can serve. Raises RequestRejected or ContextTooLong."""
    context = request.context
    if not words.has_words(context):
        raise RequestRejected(
            f"Expected a prompt of at least one token, got none - at request {request.id!r}."
        )
    if context.block.role == "assistant" and not engine.capabilities.assistant_prefill:
        raise RequestRejected(
            f"Expected a context that does not end with the assistant's turn - at request {request.id!r}. "
            f"{engine.model} can't continue an answer (`assistant_prefill`)."
        )
    prompt = words.render(context)
    limit, most = engine.context_length, request.sampling.max_tokens
    if limit is not None and len(prompt) + (most or 1) > limit:
        what = "the prompt and one token" if most is None else "the prompt and `max_tokens`"
        raise ContextTooLong(tokens=len(prompt) + (most or 1), limit=limit, what=what)
    return prompt


def answer(reply: Reply, request: Request, engine: Engine, prompt_tokens: int) -> Answer:
    """What `request` gets of a reply: behind what it has already, up to a stop, a limit or a fault.

    A context that ends with the first words of the reply is continued behind them. A reply that fits
    its limit exactly ends with its own finish reason. As nothing is drawn, nothing is there for what
    bends the draws (`temperature`, `logit_bias` and so on).
    """
    text, reason = reply.text, reply.finish_reason
    if request.context.block.role == "assistant":
        text = text.removeprefix(request.context.messages()[-1]["content"])
    for stop in request.sampling.stop:
        before, found, _ = text.partition(stop)
        if found:
            text, reason = before, "stop"
    deltas = _deltas(text, engine.capabilities.token_ids)
    for end in request.sampling.stop_token_ids:
        at = next((at for at, delta in enumerate(deltas) if words.token_id(delta.text) == end), None)
        if at is not None:
            deltas, reason = deltas[:at], "stop"
    most = request.sampling.max_tokens
    if most is None and engine.context_length is not None:
        most = engine.context_length - prompt_tokens
    if most is not None and len(deltas) > most:
        deltas, reason = deltas[:most], "length"
    fault = reply.fault
    if fault is not None and fault.after_tokens <= len(deltas):
        return Answer(deltas[: fault.after_tokens], reason, fault)
    return Answer(deltas, reason)


@lru_cache(maxsize=256)
def _deltas(text: str, with_ids: bool) -> tuple[Delta, ...]:
    return tuple(_delta(piece, with_ids) for piece in words.split(text))


@lru_cache(maxsize=1 << 16)
def _delta(piece: str, with_ids: bool) -> Delta:
    return Delta(piece, (words.token_id(piece),) if with_ids else ())


async def strike(fault: Fault, tokens: int) -> NoReturn:
    """Let a fault happen behind `tokens` tokens."""
    if fault.error == "hang":
        await asyncio.get_running_loop().create_future()
    raise failure(fault, tokens)


def failure(fault: Fault, tokens: int) -> BackendError:
    """The error that a fault raises behind `tokens` tokens."""
    where = f"after {tokens} tokens, as the script has it"
    error: BackendError
    match fault.error:
        case "rate_limited":
            error = RateLimited(f"Too many requests, {where}.")
        case "rejected":
            error = RequestRejected(f"The request was refused, {where}.")
        case "context_too_long":
            error = ContextTooLong(tokens=tokens + 1, limit=tokens)
        case "unavailable":
            error = BackendUnavailable(f"The engine is overloaded, {where}.")
        case "drop" | "hang":
            error = BackendUnavailable(f"The connection was lost {where}.")
    error.retry_after = fault.retry_after
    return error


def read_replies(path: str) -> list[Reply]:
    """The replies in a file, one JSON object a line; blank lines and `//` or `#` lines are comments.

    Raises ConfigurationError with the file and the line.
    """
    try:
        lines = Path(path).read_text(encoding="utf-8").splitlines()
    except (OSError, UnicodeDecodeError) as error:
        raise ConfigurationError(f"Expected a file of replies (JSON lines), got {path!r}: {error}") from None
    replies: list[Reply] = []
    for number, line in enumerate(lines, 1):
        if line.strip() and not line.lstrip().startswith(("//", "#")):
            try:
                replies.append(msgspec.json.decode(line, type=Reply))
            except msgspec.DecodeError as error:
                raise ConfigurationError(f"{path}:{number}: {error}") from None
    return replies
