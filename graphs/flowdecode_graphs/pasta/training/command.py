"""Train a model that writes PASTA-LANG."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from itertools import islice
from pathlib import Path
from typing import Annotated, Literal

import typer

from flowdecode.cli.installed import check_installed
from flowdecode.cli.options import AsJson, BackendUrl
from flowdecode.cli.output import remark, write, write_json
from flowdecode.cli.progress import progress, resumable
from flowdecode.errors import ConfigurationError
from flowdecode_graphs.atlas import Split
from flowdecode_graphs.pasta.layout import Form
from flowdecode_graphs.pasta.training.lengths import Lengths
from flowdecode_graphs.pasta.training.prefer_command import prefer
from flowdecode_graphs.pasta.training.rows import read_examples, write_examples

__all__ = ["train"]

train = typer.Typer(
    name="train",
    help="Train a model that marks the asynchronous parts of its answer (PASTA).",
    no_args_is_help=True,
    add_completion=False,
)
train.command()(prefer)

Out = Annotated[
    Path, typer.Option(metavar="DIR", file_okay=False, help="Where checkpoints and the model go.")
]
ModelName = Annotated[str, typer.Option(metavar="NAME", help="A model's folder, or its name on the hub.")]


@train.command()
def sft(
    data: Annotated[Path, typer.Argument(metavar="FILE", help="Annotated answers, as annotate writes them.")],
    *,
    model: ModelName,
    out: Out,
    validation: Annotated[
        Path | None, typer.Option(metavar="FILE", help="Annotated answers whose loss is told.")
    ] = None,
    form: Annotated[
        Form, typer.Option(help="How it will decode: threads over one KV cache, or requests.")
    ] = "shared",
    plain: Annotated[bool, typer.Option("--plain", help="Leave the tags out: the baseline.")] = False,
    lora: Annotated[
        int | None, typer.Option(min=1, metavar="RANK", help="Train adapters of this rank, and merge them.")
    ] = None,
    epochs: Annotated[float, typer.Option(min=0.001, help="Passes over the data.")] = 4,
    steps: Annotated[int | None, typer.Option(min=1, help="Batches, in place of epochs.")] = None,
    batch: Annotated[int, typer.Option(min=1, help="Examples in a batch.")] = 8,
    rate: Annotated[float, typer.Option(min=0.0, help="The highest learning rate; it falls to 0.")] = 1e-5,
    optimizer: Annotated[
        Literal["adamw", "muon"],
        typer.Option(help="muon suits small models; --rate is then that of the layers' matrices."),
    ] = "adamw",
    main_weight: Annotated[
        float,
        typer.Option(min=0.01, help="What the main thread's tokens and a chunk's first one count."),
    ] = 1.0,
    seed: Annotated[
        int, typer.Option(min=0, max=2**32 - 1, help="Of the order of the examples, and of new embeddings.")
    ] = 0,
    dtype: Annotated[
        Literal["float32", "bfloat16"], typer.Option(help="Of the weights while they are trained.")
    ] = "float32",
    bf16: Annotated[
        bool | None,
        typer.Option("--bf16/--no-bf16", help="Multiply in bfloat16; by default where that is fast."),
    ] = None,
    save_steps: Annotated[int, typer.Option(min=1, help="Batches from checkpoint to checkpoint.")] = 200,
    exact: Annotated[
        bool, typer.Option("--exact", help="Promised lengths need not be multiples of ten.")
    ] = False,
    as_json: AsJson = False,
) -> None:
    """Train a model on annotated answers. The same command goes on where it was stopped."""
    check_installed("train")
    from flowdecode_graphs.pasta.training import sft as stage

    settings = stage.Settings(
        model=model,
        form=form,
        plain=plain,
        exact=exact,
        lora=lora,
        epochs=epochs,
        steps=steps,
        batch=batch,
        rate=rate,
        optimizer=optimizer,
        main_weight=main_weight,
        seed=seed,
        dtype=dtype,
        bf16=bf16,
        save_steps=save_steps,
    )
    trained = stage.train(data, out, settings, validation=validation)
    if as_json:
        write_json(trained)
        return
    losses = f"loss {trained.loss:.4f}"
    if trained.validation_loss is not None:
        losses += f", validation loss {trained.validation_loss:.4f}"
    write(
        f"{trained.examples:,} examples, {trained.steps:,} steps, {losses}, "
        f"{trained.tokens_per_second:,.0f} tokens a second. The model: {out}\n"
    )


@train.command()
def annotate(
    answers: Annotated[
        Path | None, typer.Argument(metavar="[FILE]", help="Lines of JSON with the texts prompt and answer.")
    ] = None,
    *,
    model: ModelName,
    out: Annotated[Path, typer.Option(metavar="FILE", dir_okay=False, help="Where annotated answers go.")],
    backend: BackendUrl = None,
    concurrency: Annotated[int, typer.Option(min=1, help="Answers at once.")] = 8,
    attempts: Annotated[int, typer.Option(min=1, help="Tries of an answer, each with what was wrong.")] = 3,
    atlas: Annotated[
        int | None, typer.Option(min=1, metavar="N", help="Annotate N answers about the Atlas, by rule.")
    ] = None,
    split: Annotated[Split, typer.Option(help="Of the Atlas.")] = "train",
    seed: Annotated[int, typer.Option(help="Of the Atlas's questions, and their annotations.")] = 0,
    lengths: Annotated[Lengths, typer.Option(help="Of the Atlas's promises; tens is the language.")] = "tens",
    topic: Annotated[bool, typer.Option(help="Whether the Atlas's promises have topics.")] = True,
    sync: Annotated[bool, typer.Option(help="Whether the Atlas's answers have syncs.")] = True,
) -> None:
    """Annotate answers in PASTA-LANG: those of FILE by a model behind --backend, or the Atlas's by rule.

    Lengths are counted by the tokenizer of --model, the one to train. The same command goes on where
    it was stopped.
    """
    check_installed("train")
    if (answers is None) == (atlas is None):
        raise ConfigurationError("Expected either a FILE of answers or --atlas N, got both or none.")
    count = _counter(model)
    if answers is not None:
        _annotate_by_model(answers, out, backend, count, concurrency, attempts)
        return
    from flowdecode_graphs.pasta.training.atlas import atlas_examples

    examples = atlas_examples(split, seed, count, lengths=lengths, topic=topic, sync=sync)
    write_examples(out, islice(examples, atlas))
    write(f"{atlas:,} annotated answers: {out}\n")


def _annotate_by_model(
    answers: Path,
    out: Path,
    backend: str | None,
    count: Callable[[str], int],
    concurrency: int,
    attempts: int,
) -> None:
    from flowdecode_graphs.pasta.training.annotate import Annotator, dropped_path

    if out.exists() and out.samefile(answers):
        raise ConfigurationError(f"Expected another file than that of the answers, got {out} - at --out.")
    with progress("answers") as bar:
        annotator = Annotator(
            read_examples(answers),
            out,
            backend,
            count,
            concurrency=concurrency,
            attempts=attempts,
            done=bar.done,
        )
        bar.begin(len(annotator.pending))
        with resumable(out):
            asyncio.run(annotator.run())
    for kind, number in annotator.dropped.items():
        remark(f"Dropped {number:,} answers: {kind}. Reasons: {dropped_path(out)}")
    write(f"{annotator.annotated:,} annotated answers: {out}\n")


def _counter(model: str) -> Callable[[str], int]:
    """Counts tokens as a model does."""
    from flowdecode_graphs.pasta.training.conversation import Conversation
    from flowdecode_graphs.pasta.training.models import load_tokenizer

    return Conversation(load_tokenizer(model)).count
