"""Train a model by preferences between its own answers: the second stage."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal

import typer

from flowdecode.cli.installed import check_installed
from flowdecode.cli.options import AsJson
from flowdecode.cli.output import write, write_json
from flowdecode.cli.progress import progress, resumable
from flowdecode.errors import ConfigurationError
from flowdecode_graphs.pasta.training.bonbon import ALPHA, beta_of
from flowdecode_graphs.pasta.training.pairs import LAMBDAS, read_lambda

if TYPE_CHECKING:
    from flowdecode_graphs.evaluation.items import Item
    from flowdecode_graphs.pasta.training.rounds import Round
    from flowdecode_graphs.pasta.training.scores import Scorer

__all__ = ["prefer"]


def prefer(
    *,
    model: Annotated[Path, typer.Option(metavar="DIR", help="The model that `train sft` wrote.")],
    prompts: Annotated[
        str, typer.Option(metavar="FILE", help="A .csv or .jsonl file, a Hugging Face dataset, or atlas.")
    ],
    out: Annotated[
        Path, typer.Option(metavar="DIR", help="Where all goes; what is there is not done again.")
    ],
    scorer: Annotated[
        str | None, typer.Option(metavar="NAME", help="What tells quality: atlas, the exact score.")
    ] = None,
    judge: Annotated[
        str | None,
        typer.Option(
            metavar="URL", help="Or the engine of a model that compares with the baseline's answer."
        ),
    ] = None,
    baseline: Annotated[
        str | None,
        typer.Option(
            metavar="DIR_OR_URL",
            help="The model that answers plainly; without it, speedup is over a sample's own plain text.",
        ),
    ] = None,
    lambdas: Annotated[
        str,
        typer.Option(
            "--lambda", metavar="NUMBERS", help="How much quality weighs, by commas; inf: it alone."
        ),
    ] = LAMBDAS,
    rounds: Annotated[int, typer.Option(min=1, help="Rounds for each of them.")] = 2,
    samples: Annotated[int, typer.Option(min=4, help="Answers to each prompt.")] = 10,
    limit: Annotated[
        int | None, typer.Option(min=1, help="The most prompts; of atlas, 300 by default.")
    ] = None,
    split: Annotated[
        Literal["train", "validation", "heldout"], typer.Option(help="Of atlas: which questions.")
    ] = "train",
    temperature: Annotated[float, typer.Option(min=0.01, help="Of the samples.")] = 1.0,
    max_tokens: Annotated[int, typer.Option(min=1, help="Tokens that an answer may have.")] = 1024,
    concurrency: Annotated[int, typer.Option(min=1, help="Prompts that are answered at once.")] = 32,
    system: Annotated[str | None, typer.Option(metavar="TEXT", help="The system message.")] = None,
    rate: Annotated[float, typer.Option(min=0.0, help="The learning rate; it falls to 0.")] = 1e-5,
    epochs: Annotated[int, typer.Option(min=1, help="How often a round sees its pairs.")] = 1,
    batch: Annotated[int, typer.Option(min=1, help="Pairs of a step.")] = 8,
    at_once: Annotated[int, typer.Option(min=1, help="Pairs of a forward pass; fewer need less memory.")] = 8,
    alpha: Annotated[
        float, typer.Option(min=0.0, max=1.0, help="The weight of the supervised term of the loss.")
    ] = ALPHA,
    beta: Annotated[
        float | None, typer.Option(min=1e-6, help="IPO's; by default best-of-n's, n being the samples.")
    ] = None,
    seed: Annotated[int, typer.Option(min=0, max=2**31 - 1, help="Of prompts, samples and their order.")] = 0,
    bf16: Annotated[
        bool | None,
        typer.Option("--bf16/--no-bf16", help="Multiply in bfloat16; by default where that is fast."),
    ] = None,
    save_steps: Annotated[int, typer.Option(min=1, help="Steps from checkpoint to checkpoint.")] = 50,
    as_json: AsJson = False,
) -> None:
    """Learn from the best and the worst of several samples, by speedup + lambda x quality.

    Threads are decoded and learnt in the form that the model was trained in. The same command goes on
    where it was stopped. DIR/lambda-L/round-R/model is each round's model.
    """
    from flowdecode_graphs.evaluation.items import ATLAS_NAME, atlas_items, read_items

    if (scorer is None) == (judge is None):
        raise ConfigurationError("Expected one that tells quality: --scorer atlas, or --judge URL.")
    if scorer not in (None, ATLAS_NAME):
        raise ConfigurationError(f"Expected atlas, got {scorer!r} - at --scorer.")
    if judge is not None and baseline is None:
        raise ConfigurationError(
            "Expected --baseline DIR_OR_URL beside --judge: the judge compares samples with its answers."
        )
    weights = [f"{read_lambda(text.strip()):g}" for text in lambdas.split(",")]
    items = (
        atlas_items(split, limit or 300, seed=seed)
        if prompts == ATLAS_NAME
        else read_items(prompts, limit=limit)
    )
    check_installed("train")
    from flowdecode_graphs.pasta.training.preferences import Steps
    from flowdecode_graphs.pasta.training.rounds import Rounds, Settings
    from flowdecode_graphs.pasta.training.samples import Sampling, url_of

    settings = Settings(
        model=str(model),
        baseline=None if baseline is None else url_of(baseline),
        quality=judge or ATLAS_NAME,
        sampling=Sampling(
            samples=samples,
            temperature=temperature,
            max_tokens=max_tokens,
            seed=seed,
            system=system,
            concurrency=concurrency,
        ),
        steps=Steps(
            rate=rate,
            epochs=epochs,
            batch=batch,
            at_once=at_once,
            alpha=alpha,
            beta=beta_of(samples) if beta is None else beta,
            seed=seed,
            bf16=bf16,
            save_steps=save_steps,
        ),
    )
    run = Rounds(out, settings, items, _scorer(items, judge, concurrency), watch=progress)
    with resumable(out):
        told: list[Round] = []
        for done in run.run(weights, rounds):
            told.append(done)
            if not as_json:
                write(_line(done, out))
        if as_json:
            write_json(told)


def _scorer(items: Sequence[Item], judge: str | None, concurrency: int) -> Scorer:
    """What tells quality. Raises ConfigurationError."""
    from flowdecode_graphs.pasta.training.scores import AtlasScorer, JudgeScorer, check_atlas

    if judge is None:
        check_atlas(items)
        return AtlasScorer()
    return JudgeScorer(judge, concurrency=concurrency)


def _line(done: Round, out: Path) -> str:
    return (
        f"lambda {done.weight}, round {done.number}: of {done.samples:,} samples {done.well_formed:.0%} "
        f"well-formed, speedup {done.speedup:.2f}x, quality {done.quality:.3f}; "
        f"{done.pairs:,} pairs of {done.prompts:,} prompts; {out / done.model}\n"
    )
