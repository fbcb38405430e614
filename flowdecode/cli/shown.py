"""The ways to show a run while it goes on: as plain text, or live in a terminal."""

from __future__ import annotations

import asyncio
import sys
from collections.abc import Awaitable, Callable

from rich.console import Console
from rich.text import Text

from flowdecode.cli.output import write
from flowdecode.cli.region import Region
from flowdecode.cli.view import View
from flowdecode.result import Result
from flowdecode.streaming import Run

__all__ = ["Show", "best_show", "show_live", "show_nothing", "show_text"]

Show = Callable[[Run], Awaitable[Result]]
"""Shows a run to its end; returns its result, or raises what ended it."""

REFRESH = 0.1
"""Seconds between two pictures; how many tokens come meanwhile makes no difference."""


def best_show() -> Show:
    """Live where there is a terminal that can do it, else plain text."""
    console = Console(highlight=False)
    if sys.stdout.isatty() and not console.is_dumb_terminal and not console.legacy_windows:
        return lambda run: show_live(run, console)
    return show_text


async def show_nothing(run: Run) -> Result:
    """Wait for the end."""
    return await run.result()


async def show_text(run: Run) -> Result:
    """Write the answer as it comes."""
    text = ""
    try:
        async for text in run.text:
            write(text)
        return await run.result()
    finally:
        if text and not text.endswith("\n"):
            write("\n")


async def show_live(run: Run, console: Console) -> Result:
    """Print the answer as it comes, with the graph below it; the graph stays when the run has ended."""
    view = View(ascii_only=console.options.ascii_only)
    loop = asyncio.get_running_loop()
    started = loop.time()
    with Region(console) as region:
        following = asyncio.create_task(_follow(run, view))
        try:
            while not following.done():
                region.print(*view.take(region.width))
                region.draw(view.draw(region.width, region.height, loop.time() - started))
                await asyncio.wait([following], timeout=REFRESH)
            await following
            result = await run.result()
            view.settle(result)
            return result
        finally:
            following.cancel()
            await asyncio.wait([following])
            region.print(*view.take_all(region.width))
            if view.ended:
                region.print(Text(), *view.graph(region.width, region.height))


async def _follow(run: Run, view: View) -> None:
    async for event in run:
        view.feed(event)
