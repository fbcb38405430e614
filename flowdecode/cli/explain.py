"""`flowdecode explain`: the plan of a prompt, without its answer."""

from __future__ import annotations

import asyncio

import msgspec
from rich.table import Column

import flowdecode
from flowdecode.cli.options import AsJson, BackendUrl, PromptText, StrategyName, SystemText, read_prompt
from flowdecode.cli.output import write, write_json
from flowdecode.cli.table import print_table
from flowdecode.explanation import Explanation
from flowdecode.plan import Plan

__all__ = ["explain"]


def explain(
    prompt: PromptText,
    *,
    backend: BackendUrl = None,
    strategy: StrategyName = "plato",
    system: SystemText = None,
    as_json: AsJson = False,
) -> None:
    """Decode the plan of an answer alone, and say what it should gain."""
    explanation = asyncio.run(_explain(read_prompt(prompt), backend, strategy, system))
    if as_json:
        _print_json(explanation)
    else:
        _print_text(explanation)


async def _explain(prompt: str, backend: str | None, strategy: str, system: str | None) -> Explanation:
    async with flowdecode.connect(backend) as flow:
        return await flow.explain(prompt, strategy=strategy, system=system)


def _print_text(explanation: Explanation) -> None:
    plan = explanation.plan
    if plan.nodes:
        _print_nodes(plan)
        write(
            f"\n{plan.to_mermaid()}\n\n"
            f"work {plan.work:,} tokens, span {plan.span:,} tokens, parallelism {plan.parallelism:.2f}, "
            f"predicted gain {explanation.predicted_speedup:.2f}x\n"
        )
    for line in (*plan.remarks, explanation.note):
        if line:
            write(f"{line}\n")


def _print_nodes(plan: Plan) -> None:
    header = (
        Column("id", justify="right"),
        "title",
        "parents",
        Column("tokens", justify="right"),
        "shown",
        Column("prefix hit", justify="right"),
    )
    rows = (
        (
            str(node.id),
            node.title,
            ", ".join(map(str, node.parents)),
            f"{node.expected_tokens:,}",
            "yes" if node.shown else "no",
            f"{node.expected_cached_tokens:,} of {node.expected_prompt_tokens:,}",
        )
        for node in plan.nodes
    )
    print_table(header, rows)


def _print_json(explanation: Explanation) -> None:
    """Print the explanation, with the figures that follow from it."""
    plan = explanation.plan
    figures = {
        "work": plan.work,
        "span": plan.span,
        "parallelism": plan.parallelism,
        "predicted_speedup": explanation.predicted_speedup,
    }
    write_json({**msgspec.to_builtins(explanation), **figures})
