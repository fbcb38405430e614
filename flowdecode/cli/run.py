"""`flowdecode run`: the answer to a prompt."""

from __future__ import annotations

import asyncio
from contextlib import AbstractAsyncContextManager
from typing import Annotated

import typer

import flowdecode
from flowdecode.cli.options import AsJson, BackendUrl, PromptText, StrategyName, SystemText, read_prompt
from flowdecode.cli.output import remark, write, write_json
from flowdecode.errors import FlowdecodeError
from flowdecode.execution import OnError
from flowdecode.result import Result
from flowdecode.streaming import Run

__all__ = ["run"]


def run(
    prompt: PromptText,
    *,
    backend: BackendUrl = None,
    strategy: StrategyName = "auto",
    system: SystemText = None,
    width: Annotated[int | None, typer.Option(help="Nodes that may decode at once.")] = None,
    timeout: Annotated[float | None, typer.Option(help="Seconds that the run may take.")] = None,
    token_budget: Annotated[int | None, typer.Option(help="Tokens that may be decoded in all.")] = None,
    on_error: Annotated[
        OnError, typer.Option(help="When a part fails: go on sequentially, leave a hole, or fail.")
    ] = "fallback",
    max_tokens: Annotated[int | None, typer.Option(help="Tokens that the answer may have.")] = None,
    temperature: Annotated[float | None, typer.Option(help="0 is greedy.")] = None,
    top_p: Annotated[
        float | None, typer.Option(help="Draw from the likeliest tokens that make up this share.")
    ] = None,
    top_k: Annotated[int | None, typer.Option(help="Draw from so many of the likeliest tokens.")] = None,
    min_p: Annotated[
        float | None, typer.Option(help="Draw from tokens at least so likely, against the likeliest.")
    ] = None,
    repetition_penalty: Annotated[
        float | None, typer.Option(help="Above 1 makes tokens that were there less likely.")
    ] = None,
    seed: Annotated[int | None, typer.Option(help="Makes an answer repeatable.")] = None,
    stop: Annotated[
        list[str] | None, typer.Option(metavar="TEXT", help="Where a decode ends; may be repeated.")
    ] = None,
    as_json: AsJson = False,
) -> None:
    """Decode an answer, its independent parts side by side.

    The text is printed as it comes, then a line of figures to standard error.
    """
    streaming = flowdecode.stream(
        read_prompt(prompt),
        backend=backend,
        strategy=strategy,
        system=system,
        width=width,
        timeout=timeout,
        token_budget=token_budget,
        on_error=on_error,
        max_tokens=max_tokens,
        temperature=temperature,
        top_p=top_p,
        top_k=top_k,
        min_p=min_p,
        repetition_penalty=repetition_penalty,
        seed=seed,
        stop=stop,
    )
    asyncio.run(_print_json(streaming) if as_json else _print_text(streaming))


async def _print_text(streaming: AbstractAsyncContextManager[Run]) -> None:
    text = ""
    try:
        async with streaming as run:
            async for text in run.text:
                write(text)
            result = await run.result()
    finally:
        if text and not text.endswith("\n"):
            write("\n")
    remark(_summary(result))


async def _print_json(streaming: AbstractAsyncContextManager[Run]) -> None:
    """Print the result; of a run that fails, what it had reached."""
    try:
        async with streaming as run:
            result = await run.result()
    except FlowdecodeError as error:
        if error.partial is not None:
            write_json(error.partial)
        raise
    write_json(result)


def _summary(result: Result) -> str:
    """The figures of a run in one line."""
    nodes, usage = len(result.nodes), result.usage
    figures = [
        f"{nodes} node{'s' if nodes != 1 else ''}",
        f"work {result.work:,} tokens",
        f"span {result.span:,} tokens",
        f"parallelism {result.parallelism:.2f}",
        f"{result.duration:.2f} s",
        f"{usage.cached_tokens:,} of {usage.prompt_tokens:,} prompt tokens cached",
        f"strategy {result.strategy}",
    ]
    if result.status != "done":
        figures.append(result.status)
    if result.fallback_reason:
        figures.append(f"fell back: {result.fallback_reason}")
    return ", ".join(figures)
