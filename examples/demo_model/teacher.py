"""A backend that knows the right answer, and notes what it was asked: strategies write the training texts."""

from __future__ import annotations

from contextlib import AbstractAsyncContextManager
from types import TracebackType
from typing import NamedTuple

import flowdecode
from flowdecode.backend import Capabilities, Delta, Engine, FinishReason, Load, ModelProfile, Request
from flowdecode.context import Context
from flowdecode.strategy import Strategy
from flowdecode.usage import Usage
from flowdecode_backends.tokens import ChatTokens
from flowdecode_graphs.atlas import Question, Reference, reference
from flowdecode_graphs.plato.language import plan_text
from flowdecode_graphs.prompts import Prompts

__all__ = ["Exchange", "Teacher", "exchanges", "heading_pieces", "plan_exchange"]


class Exchange(NamedTuple):
    """One request and its right answer, as ids."""

    prompt: tuple[int, ...]
    answer: tuple[int, ...]
    """The id that ends the turn included."""
    headings: frozenset[int] = frozenset()
    """Where in the answer its headings are: what decides whether the rest is about the right thing."""


class Teacher:
    """Answers every request of every strategy about one question as the reference does."""

    def __init__(self, tokens: ChatTokens, profile: ModelProfile, question: Question) -> None:
        self.engine = Engine(
            model="teacher",
            provider="teacher",
            capabilities=Capabilities(token_ids=True, assistant_prefill=True),
            profile=profile,
        )
        self.tokens = tokens
        self.exchanges: list[Exchange] = []
        self._replies = _replies(reference(question), Prompts.for_engine(self.engine))
        (self._end,) = tokens.stop_ids()

    async def __aenter__(self) -> Teacher:
        return self

    async def __aexit__(
        self,
        exc_type: type[BaseException] | None,
        exc: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        return None

    def decode(self, request: Request) -> Lesson:
        """The right answer, a delta a token."""
        reply = self._reply(request.context)
        answer = self.tokens.encode(reply)
        prompt = self.tokens.render(request.context)
        deltas = [Delta(self.tokens.decode([token]), (token,)) for token in answer]
        headings = heading_pieces([delta.text for delta in deltas])
        self.exchanges.append(Exchange(prompt, (*answer, self._end), headings))
        return Lesson(deltas, len(prompt))

    def count_tokens(self, context: Context) -> int:
        return self.tokens.count(context)

    async def load(self) -> Load | None:
        return None

    def _reply(self, context: Context) -> str:
        """By the end of what the user said last; the plain answer where nothing else fits."""
        asked = next(message for message in context.messages()[::-1] if message["role"] == "user")
        fitting = (reply for ending, reply in self._replies.items() if asked["content"].endswith(ending))
        return next(fitting)


class Lesson(AbstractAsyncContextManager["Lesson"]):
    """One answer as a stream."""

    def __init__(self, deltas: list[Delta], prompt_tokens: int) -> None:
        self.finish_reason: FinishReason | None = None
        self._deltas = iter(deltas)
        self._prompt_tokens = prompt_tokens
        self._count = 0

    async def __aexit__(
        self,
        exc_type: type[BaseException] | None,
        exc: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        return None

    @property
    def usage(self) -> Usage:
        return Usage(prompt_tokens=self._prompt_tokens, completion_tokens=self._count)

    def __aiter__(self) -> Lesson:
        return self

    async def __anext__(self) -> Delta:
        delta = next(self._deltas, None)
        if delta is None:
            self.finish_reason = "stop"
            raise StopAsyncIteration
        self._count += 1
        return delta


def heading_pieces(pieces: list[str]) -> frozenset[int]:
    """Which pieces of a text are within a heading, or say that one comes or the text ends."""
    found: set[int] = set()
    line = ""
    for index, piece in enumerate(pieces):
        line = (line + piece).rpartition("\n")[2]
        if line.startswith("##") or not line:
            found.add(index)
    return frozenset(found | {len(pieces)})


def _replies(right: Reference, prompts: Prompts) -> dict[str, str]:
    """What each request wants, by the end of what is asked; the last one fits everything."""
    replies = {
        prompts.plan: "direct" if right.direct else plan_text(right.plan.nodes),
        prompts.router: right.route,
        prompts.skeleton: right.skeleton,
    }
    for point, text in zip(right.skeleton.splitlines(), right.points, strict=True):
        number = point.partition(".")[0]
        told = prompts.point.replace("{id}", number).replace("{skeleton}", right.skeleton)
        replies[told] = text.removeprefix(point)
    for part in right.parts:
        told = prompts.part.replace("{title}", part.title).replace("{tokens}", str(part.expected_tokens))
        replies[told] = part.text
    return replies | {"": right.text}


async def exchanges(
    tokens: ChatTokens, profile: ModelProfile, question: Question, strategy: Strategy
) -> list[Exchange]:
    """All requests that a strategy makes for one question, with their answers."""
    teacher = Teacher(tokens, profile, question)
    await flowdecode.run(question.prompt, backend=teacher, strategy=strategy, on_error="raise")
    return teacher.exchanges


async def plan_exchange(tokens: ChatTokens, profile: ModelProfile, question: Question) -> Exchange:
    """The planner's request for one question alone."""
    teacher = Teacher(tokens, profile, question)
    async with flowdecode.connect(teacher) as flow:
        await flow.explain(question.prompt, strategy="plato")
    return teacher.exchanges[0]
