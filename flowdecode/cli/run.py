"""`flowdecode run`: the answer to a prompt."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from contextlib import AsyncExitStack
from functools import partial
from pathlib import Path
from typing import Annotated

import typer

import flowdecode
from flowdecode.cli.comparison import Comparison
from flowdecode.cli.options import AsJson, BackendUrl, PromptText, StrategyName, SystemText, read_prompt
from flowdecode.cli.output import announced, remark, write, write_json
from flowdecode.cli.shown import Show, best_show, show_nothing
from flowdecode.errors import ConfigurationError, FlowdecodeError
from flowdecode.execution import OnError
from flowdecode.flow import Flow
from flowdecode.result import Result
from flowdecode.streaming import Streaming
from flowdecode.timeline import to_html

__all__ = ["run"]

TITLES = ("=== the answer ===", "\n=== the sequential answer ===")
"""What tells two answers that are compared from each other."""


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
    compare: Annotated[
        bool, typer.Option("--compare", help="Decode the sequential answer too, afterwards, and compare.")
    ] = False,
    timeline: Annotated[
        Path | None,
        typer.Option(metavar="FILE.html", help="Write a page with the answer, the graph and a timeline."),
    ] = None,
    as_json: AsJson = False,
) -> None:
    """Decode an answer, its independent parts side by side.

    The text is printed as it comes, in a terminal with the graph below it, then a line of figures to
    standard error.
    """
    _write_page(timeline, None)
    text = read_prompt(prompt)
    with announced("Opening the engine ..."):
        flow = flowdecode.connect(backend)
    stream = partial(
        flow.stream,
        text,
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
    streamings = [stream(strategy=strategy)]
    if compare:
        streamings.append(stream(strategy="sequential"))
    asyncio.run(_run(flow, streamings, timeline, as_json=as_json))


async def _run(flow: Flow, streamings: Sequence[Streaming], timeline: Path | None, *, as_json: bool) -> None:
    """Decode one answer, or two to be compared.

    These come one after the other: side by side they would share the engine, and neither's time would be
    its own.
    """
    show = show_nothing if as_json else best_show()
    results: list[Result] = []
    async with AsyncExitStack() as opened:
        with announced("Opening the engine ..."):
            await opened.enter_async_context(flow)
        for streaming, title in zip(streamings, TITLES, strict=False):
            if len(streamings) > 1 and not as_json:
                write(f"{title}\n\n")
            results.append(await _shown(streaming, show, None if results else timeline, as_json=as_json))
            if not as_json:
                remark(_summary(results[-1]))
    if len(results) > 1:
        comparison = Comparison(*results)
        if as_json:
            write_json(comparison.to_data())
        else:
            remark(str(comparison))
    elif as_json:
        write_json(results[0])


async def _shown(streaming: Streaming, show: Show, timeline: Path | None, *, as_json: bool) -> Result:
    """Show one run to its end; of a run that fails, JSON and page say what it had reached."""
    try:
        async with streaming as run:
            result = await show(run)
    except FlowdecodeError as error:
        if error.partial is not None:
            if as_json:
                write_json(error.partial)
            _write_page(timeline, error.partial)
        raise
    _write_page(timeline, result)
    return result


def _write_page(path: Path | None, result: Result | None) -> None:
    """Write the page of a result; of none, only see that it can be written. Raises ConfigurationError."""
    if path is None:
        return
    try:
        with path.open("a" if result is None else "w", encoding="utf-8") as file:
            file.write("" if result is None else to_html(result))
    except OSError as error:
        raise ConfigurationError(
            f"Expected a file that can be written, got {str(path)!r}: {error.strerror} - at --timeline."
        ) from None


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
