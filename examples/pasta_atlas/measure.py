"""Answers to the proof's questions: how good, how many tokens, how long."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping, Sequence
from contextlib import AsyncExitStack
from pathlib import Path

import msgspec

import flowdecode
from flowdecode.flow import Flow
from flowdecode_graphs.atlas import Question, score
from flowdecode_graphs.files import write_whole

__all__ = ["Answer", "answer_all", "read_answers", "time_each", "write_answers"]

MAX_TOKENS = 1_024


class Answer(msgspec.Struct, frozen=True, kw_only=True):
    """One question answered, greedily."""

    prompt: str
    text: str
    score: float
    work: int
    """Tokens."""
    span: int
    """Tokens on the longest chain."""
    seconds: float
    remarks: tuple[str, ...] = ()
    """What was wrong with the tags."""


async def answer_all(
    backend: str, strategy: str, asked: Sequence[Question], *, concurrency: int = 16
) -> list[Answer]:
    """Answers in the order of the questions, many at a time: their seconds tell nothing."""
    places = asyncio.Semaphore(concurrency)
    async with flowdecode.connect(backend) as flow:

        async def one(question: Question) -> Answer:
            async with places:
                return await _answer(flow, strategy, question)

        return await asyncio.gather(*map(one, asked))


async def time_each(
    ways: Mapping[str, tuple[str, str]], asked: Sequence[Question]
) -> dict[str, list[Answer]]:
    """The same one at a time, the `ways` (backend, strategy) in turns, so that a drifting machine is fair."""
    found: dict[str, list[Answer]] = {name: [] for name in ways}
    async with AsyncExitStack() as stack:
        flows = {
            name: (await stack.enter_async_context(flowdecode.connect(backend)), strategy)
            for name, (backend, strategy) in ways.items()
        }
        for flow, strategy in flows.values():
            await _answer(flow, strategy, asked[0])  # what is done once only is not counted
        for question in asked:
            for name, (flow, strategy) in flows.items():
                found[name].append(await _answer(flow, strategy, question))
    return found


async def _answer(flow: Flow, strategy: str, question: Question) -> Answer:
    result = await flow.run(
        question.prompt, strategy=strategy, temperature=0, max_tokens=MAX_TOKENS, on_error="raise"
    )
    return Answer(
        prompt=question.prompt,
        text=result.text,
        score=score(question, result.text).value,
        work=result.work,
        span=result.span,
        seconds=result.duration,
        remarks=result.plan.remarks if result.plan else (),
    )


def write_answers(path: Path, answers: Sequence[Answer]) -> None:
    """As JSON lines, in place at once."""
    write_whole(path, msgspec.json.Encoder().encode_lines(answers))


def read_answers(path: Path) -> list[Answer]:
    return msgspec.json.Decoder(Answer).decode_lines(path.read_bytes())
