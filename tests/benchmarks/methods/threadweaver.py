"""ThreadWeaver (arXiv 2512.07843): fork and join by a state machine over plain completions.

As its authors describe it: the model decodes until its outlines end; every outline becomes a request of its
own behind the same text, all at once; when the last one has ended all are put behind each other in
order, and the model goes on behind them, until it writes the next outlines or ends. Outlines of one
block don't depend on each other, so a plan with dependencies becomes a block for every level; a level of
one part is written in line. Its model is fine-tuned, so its prompt is the question alone, and its tags are
tokens of their own: here they are one character, which is one token. All threads may run at once, and
what was decoded stays as it was, where the published code has a number of workers and tokenises all text
anew for every request.
"""

from __future__ import annotations

from collections.abc import Sequence

from flowdecode.backend import Grammar
from flowdecode.context import Block, Context
from tests.benchmarks.forced_plan import ForcedPlan, Literal
from tests.benchmarks.methods.client import Client, Written, together

__all__ = ["answer"]


async def answer(client: Client, plan: ForcedPlan) -> dict[int, Written]:
    """Level by level."""
    context = client.context(Block("user", plan.question))
    parts: dict[int, Written] = {}
    for level in plan.levels:
        if len(level) == 1:
            parts[level[0]] = await client.decode(context, tokens=plan.parts[level[0]].tokens)
            context = context.extend(parts[level[0]].block)
        else:
            outlined = context.extend((await client.decode(context, grammar=_outlines(plan, level))).block)
            threads = await together({
                number: client.decode(outlined.extend(_opened(number)), tokens=plan.parts[number].tokens)
                for number in level
            })  # fmt: skip
            parts |= threads
            context = _joined(outlined, threads)
    if len(plan.levels[-1]) > 1:  # it can't know that no more is to come, and goes on: to the end
        await client.decode(context, tokens=1)
    return parts


def _outlines(plan: ForcedPlan, level: Sequence[int]) -> Grammar:
    """`<Parallel><Outlines><Outline>1: ...</Outline>...</Outlines>`."""
    return Literal.of("{[" + "".join(f"<{number}: {plan.parts[number].title}>" for number in level) + "]")


def _opened(number: int) -> Block:
    """`<Thread>1:`, as its beginning is told to a thread."""
    return Block("assistant", f"({number}:")


def _joined(outlined: Context, threads: dict[int, Written]) -> Context:
    """`<Thread>1: ...</Thread>...</Parallel>` behind the outlines."""
    for number, thread in threads.items():
        outlined = outlined.extend(_opened(number), thread.block, Block("assistant", ")"))
    return outlined.extend(Block("assistant", "}"))
