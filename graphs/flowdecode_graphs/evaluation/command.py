"""Measure whether parallel decoding pays for a model and prompts."""

from __future__ import annotations

import asyncio
import platform
from collections.abc import Iterable
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from flowdecode.cli.installed import check_installed
from flowdecode.cli.options import AsJson, BackendUrl
from flowdecode.cli.output import remark, write_json
from flowdecode.cli.progress import progress, resumable
from flowdecode.cli.table import print_table
from flowdecode.errors import ConfigurationError
from flowdecode.plugins import default_backend_url

if TYPE_CHECKING:
    from flowdecode_graphs.evaluation.answers import Folder, Manifest, Settings
    from flowdecode_graphs.evaluation.summary import Summary
    from flowdecode_graphs.evaluation.variants import Variant

__all__ = ["bench"]

bench = typer.Typer(
    name="bench",
    help="Measure whether parallel decoding pays for a model and prompts.",
    no_args_is_help=True,
    add_completion=False,
)

Limit = Annotated[int | None, typer.Option(min=1, help="The most prompts, spread evenly over all.")]
Repeat = Annotated[int, typer.Option(min=1, help="Answers to each prompt by each strategy.")]
Concurrency = Annotated[int, typer.Option(min=1, help="Runs at once; 1 gives each the whole engine.")]
MaxTokens = Annotated[int | None, typer.Option(min=1, help="Tokens that an answer may have.")]
TokenLimit = Annotated[int | None, typer.Option(min=1, help="Begin no run once so many tokens were decoded.")]
Temperature = Annotated[float, typer.Option(help="0 is greedy.")]
Seed = Annotated[int | None, typer.Option(help="Makes answers repeatable.")]
Timeout = Annotated[float | None, typer.Option(help="Seconds that a run may take.")]
Out = Annotated[
    Path, typer.Option(metavar="DIR", help="Where answers and report go; what is there is not done again.")
]


@bench.command()
def run(
    *,
    prompts: Annotated[
        str,
        typer.Option(metavar="FILE", help="A .csv or .jsonl file, a Hugging Face dataset, or atlas."),
    ],
    out: Out,
    backend: BackendUrl = None,
    strategies: Annotated[
        str,
        typer.Option(
            metavar="NAMES", help="Strategies and ablations, by commas; sequential comes with them."
        ),
    ] = "plato,auto,skeleton",
    limit: Limit = None,
    repeat: Repeat = 1,
    concurrency: Concurrency = 1,
    judge: Annotated[
        str | None, typer.Option(metavar="URL", help="The engine of a model that compares the answers.")
    ] = None,
    system: Annotated[str | None, typer.Option(metavar="TEXT", help="The system message.")] = None,
    max_tokens: MaxTokens = 1024,
    token_limit: TokenLimit = None,
    temperature: Temperature = 0.0,
    seed: Seed = None,
    timeout: Timeout = None,
    as_json: AsJson = False,
) -> None:
    """Answer prompts by several strategies, in turns, and report speed and quality.

    Goes on where it was stopped: every answer is a file of its own in DIR.
    """
    check_installed("bench")
    from flowdecode_graphs.evaluation.answers import Settings
    from flowdecode_graphs.evaluation.variants import open_variants

    variants = open_variants(name.strip() for name in strategies.split(",") if name.strip())
    settings = Settings(
        backend=backend or default_backend_url(),
        system=system,
        max_tokens=max_tokens,
        temperature=temperature,
        seed=seed,
        timeout=timeout,
        concurrency=concurrency,
    )
    folder, manifest = _begin(out, settings, prompts, limit, repeat, variants, judge)
    _answer(folder, manifest, variants, token_limit)
    if judge is not None:
        _judge(folder, manifest, judge, concurrency)
    _report(folder, as_json=as_json)


@bench.command()
def router(
    *,
    labels: Annotated[
        str,
        typer.Option(
            metavar="FILE",
            help="A file with the columns label and request: 1 where the parts of the answer do not "
            "depend on each other, else 0. Or atlas.",
        ),
    ],
    out: Out,
    backend: BackendUrl = None,
    limit: Limit = None,
    repeat: Repeat = 1,
    concurrency: Concurrency = 1,
    max_tokens: MaxTokens = 1024,
    token_limit: TokenLimit = None,
    timeout: Timeout = None,
    as_json: AsJson = False,
) -> None:
    """Compare what auto and the A/B/C question choose with labels, and say what a wrong choice costs."""
    check_installed("bench")
    from flowdecode_graphs.evaluation.answers import Settings
    from flowdecode_graphs.evaluation.router import router_variants

    variants = router_variants()
    settings = Settings(
        backend=backend or default_backend_url(),
        max_tokens=max_tokens,
        timeout=timeout,
        concurrency=concurrency,
    )
    folder, manifest = _begin(out, settings, labels, limit, repeat, variants)
    if all(item.independent is None for item in manifest.items):
        raise ConfigurationError(f"Expected a field `label` of 0 or 1, got none - in {labels}.")
    _answer(folder, manifest, variants, token_limit)
    _report(folder, as_json=as_json)


@bench.command()
def report(
    folder: Annotated[Path, typer.Argument(metavar="DIR", help="What run or router wrote.")],
    *,
    as_json: AsJson = False,
) -> None:
    """Write the report again, from the answers that are there."""
    check_installed("bench")
    from flowdecode_graphs.evaluation.answers import Folder

    _report(Folder(folder), as_json=as_json)


def _begin(
    out: Path,
    settings: Settings,
    source: str,
    limit: int | None,
    repeat: int,
    variants: Iterable[Variant],
    judge: str | None = None,
) -> tuple[Folder, Manifest]:
    from flowdecode_graphs.evaluation.answers import Folder, Manifest
    from flowdecode_graphs.evaluation.items import read_items

    manifest = Manifest(
        settings=settings,
        source=source,
        items=tuple(read_items(source, limit=limit)),
        variants=tuple(variant.name for variant in variants),
        repeat=repeat,
        judge=judge,
        machine=f"{platform.system()} {platform.machine()}, Python {platform.python_version()}",
        started=datetime.now(UTC).isoformat(timespec="seconds"),
    )
    folder = Folder(out)
    return folder, folder.open(manifest)


def _answer(folder: Folder, manifest: Manifest, variants: Iterable[Variant], token_limit: int | None) -> None:
    from flowdecode_graphs.evaluation.runner import Runner

    with progress("answers") as bar, resumable(folder.path):
        runner = Runner(folder, manifest, tuple(variants), token_limit=token_limit, done=bar.done)
        bar.begin(len(runner.pending))
        asyncio.run(runner.run())
    if runner.left_out:
        remark(f"{runner.left_out:,} answers were not begun: {token_limit:,} tokens were decoded.")


def _judge(folder: Folder, manifest: Manifest, url: str, concurrency: int) -> None:
    from flowdecode_graphs.evaluation.judge import Judge
    from flowdecode_graphs.evaluation.measures import pairs_of

    pairs = pairs_of(manifest.items, folder.answers())
    with progress("verdicts") as bar, resumable(folder.path):
        judge = Judge(folder, pairs, url, concurrency=concurrency, done=bar.done)
        bar.begin(len(judge.pending))
        asyncio.run(judge.run())


def _report(folder: Folder, *, as_json: bool) -> None:
    """Write the report in all its forms, and print the headline."""
    from flowdecode_graphs.evaluation.report import write_report
    from flowdecode_graphs.evaluation.summary import summarize

    summary = summarize(folder)
    path = write_report(folder, summary)
    if as_json:
        write_json(summary)
    else:
        _print(summary)
    remark(f"The report: {path}")


def _print(summary: Summary) -> None:
    from flowdecode_graphs.evaluation.figures import tables

    for table in tables(summary):
        if table.title in ("Speed", "Answers", "Quality", "Ablations", "Router"):
            print_table(table.header, [[str(cell) for cell in row] for row in table.rows])
            typer.echo()
