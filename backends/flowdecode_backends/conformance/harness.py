"""What the tests of the conformance kit work with."""

from __future__ import annotations

import asyncio
import functools
import time
from collections.abc import Callable, Coroutine
from itertools import count
from typing import Any, ClassVar, Concatenate, ParamSpec, TypeVar, cast

import msgspec
import pytest

from flowdecode.backend import Backend, Delta, FinishReason, Grammar, Request
from flowdecode.context import Block, Context
from flowdecode.sampling import SamplingParams
from flowdecode.usage import Usage

__all__ = ["LENGTH", "SHORTEST", "Answer", "Harness", "entered"]

LENGTH = 24
"""Tokens that most of the tests decode."""

SHORTEST = 8
"""Tokens that the answer to `question` has at least, and deltas, where the backend streams."""

DEADLINE = 10.0
"""Seconds that an engine has for ending what nobody reads any more."""

_Suite = TypeVar("_Suite", bound="Harness")
_P = ParamSpec("_P")
_numbers = count()


class Answer(msgspec.Struct, frozen=True):
    """What one request got."""

    deltas: tuple[Delta, ...]
    finish_reason: FinishReason | None
    usage: Usage

    @property
    def text(self) -> str:
        return "".join(delta.text for delta in self.deltas)

    @property
    def tokens(self) -> tuple[int, ...]:
        return tuple(token for delta in self.deltas for token in delta.tokens)


def entered(
    test: Callable[Concatenate[_Suite, Backend, _P], Coroutine[Any, Any, None]],
) -> Callable[Concatenate[_Suite, Backend, _P], None]:
    """Run a test in an event loop, with the backend entered; it may leave no task behind."""

    @functools.wraps(test)
    def run(self: _Suite, backend: Backend, *args: _P.args, **kwargs: _P.kwargs) -> None:
        async def main() -> None:
            async with backend as entered:
                await test(self, entered, *args, **kwargs)
            await _until(lambda: len(asyncio.all_tasks()) == 1, "the tasks of the backend end")

        asyncio.run(main())

    return cast(Callable[Concatenate[_Suite, Backend, _P], None], run)


async def _until(reached: Callable[[], bool], what: str) -> None:
    """Look again and again whether something is so: an engine elsewhere tells nobody when it is."""
    end = time.monotonic() + DEADLINE
    while not reached():
        assert time.monotonic() < end, f"Expected that {what} within {DEADLINE:g} s."
        await asyncio.sleep(0.005)


class Harness:
    """What the tests know of the backend, and what they do with it."""

    question: ClassVar[str] = "Tell me all about tea, in several sentences."
    """A prompt whose greedy answer has at least `SHORTEST` tokens, of a few letters each."""
    unicode_question: ClassVar[str | None] = None
    """A prompt whose greedy answer has a character that spans several tokens; not needed with a grammar."""
    repeats: ClassVar[bool] = True
    """Whether a greedy answer is the same every time, whatever else the engine decodes."""
    draws: ClassVar[bool] = True
    """Whether tokens are drawn at all: a test double may know its answers."""
    page: ClassVar[int] = 1
    """Tokens that the engine's prefix cache keeps or drops together."""

    @pytest.fixture
    def backend(self) -> Backend:
        """The backend, not yet entered."""
        raise NotImplementedError("Expected a fixture `backend` that gives the backend to be tested.")

    @pytest.fixture
    def unreachable(self) -> Backend | None:
        """The same where there is no engine; None where that can't be."""
        return None

    def request(
        self, question: str | Context | None = None, *, grammar: Grammar | None = None, **sampling: Any
    ) -> Request:
        """A greedy request of `LENGTH` tokens, if `sampling` does not say otherwise."""
        question = self.question if question is None else question
        context = Context.of([Block("user", question)]) if isinstance(question, str) else question
        params = SamplingParams.read({"temperature": 0, "max_tokens": LENGTH, **sampling})
        name = f"conformance-{time.time_ns()}-{next(_numbers)}."
        return Request(id=name, run_id=name, context=context, sampling=params, grammar=grammar)

    async def ask(self, backend: Backend, *args: Any, **kwargs: Any) -> Answer:
        """The answer to `request(...)`, read to its end."""
        return await self.read(backend, self.request(*args, **kwargs))

    async def read(self, backend: Backend, request: Request) -> Answer:
        """The answer to a request, read to its end."""
        async with backend.decode(request) as decoding:
            deltas = [delta async for delta in decoding]
        return Answer(tuple(deltas), decoding.finish_reason, decoding.usage)

    async def whole(self, backend: Backend) -> Answer:
        """The answer to `question`, checked to be of use."""
        answer = await self.ask(backend)
        assert answer.usage.completion_tokens >= SHORTEST, f"Expected a longer answer, got {answer.text!r}"
        return answer

    async def idle(self, backend: Backend) -> None:
        """Wait until the engine has nothing to do, where it tells."""
        end = time.monotonic() + DEADLINE
        while (load := await backend.load()) is not None and load.running + load.waiting:
            assert time.monotonic() < end, f"Expected that the engine runs nothing any more, got {load}."
            await asyncio.sleep(0.005)
