"""LLMCompiler's schedule (arXiv 2312.04511): tasks start while the plan streams, but not when they could.

As `aschedule` in the authors' `task_fetching_unit.py` has it: while the plan comes, the scheduler waits for
the next task of it and looks for runnable ones only then, whatever finishes meanwhile; where it finds
none it sleeps 10 ms before it waits again. Behind the plan it sleeps 10 ms whenever nothing is runnable.
A task is told the question and, in place of `$1`, what its dependencies said; it does not see the plan.
The wording is Plato's, so that both differ in the schedule. Left out: its joiner, which would have a model
read all parts and write the answer anew. A task that fails ends the run, where theirs would wait for it.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from typing import NamedTuple

from flowdecode.context import Block
from tests.benchmarks.forced_plan import ForcedPlan, Literal
from tests.benchmarks.methods.client import Client, Written

__all__ = ["INTERVAL", "Task", "answer", "schedule"]

INTERVAL = 0.01
"""Seconds between two looks at what is runnable."""


class Task(NamedTuple):
    """A line of the plan."""

    number: int
    dependencies: tuple[int, ...]


async def schedule(plan: asyncio.Queue[Task | None], run: Callable[[int], Awaitable[None]]) -> None:
    """Run the tasks that come through a queue until None does, and then the rest."""
    waiting: list[Task] = []
    unfinished: set[int] = set()
    complete = False

    async def finish(task: Task) -> None:
        await run(task.number)
        unfinished.remove(task.number)

    async with asyncio.TaskGroup() as group:
        while not complete or unfinished:
            if not complete:
                task = await plan.get()
                if task is None:
                    complete = True
                else:
                    waiting.append(task)
                    unfinished.add(task.number)
            runnable = [task for task in waiting if unfinished.isdisjoint(task.dependencies)]
            for task in runnable:
                waiting.remove(task)
                group.create_task(finish(task))
            if not runnable and (unfinished or not complete):
                await asyncio.sleep(INTERVAL)


async def answer(client: Client, plan: ForcedPlan) -> dict[int, Written]:
    """Planner and scheduler side by side."""
    asked = client.asked(plan)
    queue: asyncio.Queue[Task | None] = asyncio.Queue()
    parts: dict[int, Written] = {}
    lines = iter(plan.parts.items())

    def read(text: str) -> None:
        for _ in range(text.count("\n")):
            number, part = next(lines)
            queue.put_nowait(Task(number, part.parents))

    async def write_plan() -> None:
        context = asked.extend(Block("user", client.prompts.plan))
        await client.decode(context, grammar=Literal.of(plan.text), read=read)
        queue.put_nowait(None)

    async def run(number: int) -> None:
        part = plan.parts[number]
        told = [plan.told(parent, parts[parent].block.text, client.prompts) for parent in part.parents]
        instruction = "".join(["\n\n", *told, plan.instruction(number, client.prompts)])
        context = asked.extend(Block("user", instruction))
        parts[number] = await client.decode(context, tokens=part.tokens)

    await asyncio.gather(write_plan(), schedule(queue, run))
    return parts
