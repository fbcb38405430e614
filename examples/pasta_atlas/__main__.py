"""PASTA on the Atlas, from data to the table: `python -m examples.pasta_atlas --help`."""

from __future__ import annotations

import asyncio
import shutil
from collections.abc import Collection, Sequence
from pathlib import Path
from typing import Annotated

import typer

from examples.pasta_atlas import frontier, recipe
from examples.pasta_atlas.measure import answer_all, read_answers, time_each, write_answers
from examples.pasta_atlas.split import proof_questions

app = typer.Typer(no_args_is_help=True, add_completion=False)

Folder = Annotated[Path, typer.Argument(help="Where data, models and answers are.")]
SHIPPED = Path("backends/flowdecode_backends/demo/pasta")
DEMO = ("sequential", "skeleton", "plato")
"""The demo model's strategies, as points beside."""


@app.command()
def supervise(
    folder: Folder, names: Annotated[list[str] | None, typer.Option("--name", help="Of these only.")] = None
) -> None:
    """Train the baseline, stage 1 and the ablations."""
    recipe.supervise(folder, _chosen(names, recipe.STAGES | recipe.ABLATIONS))


@app.command()
def prefer(
    folder: Folder,
    weights: Annotated[list[str] | None, typer.Option("--lambda", help="Of these only.")] = None,
    names: Annotated[list[str] | None, typer.Option("--name", help="From these only.")] = None,
) -> None:
    """Train stage 2, for each lambda, from both forms of stage 1."""
    recipe.prefer(folder, _chosen(weights, recipe.LAMBDAS), _chosen(names, recipe.STAGE_2))


@app.command()
def measure(folder: Folder) -> None:
    """Have every model answer the frozen questions, many at a time: quality, tokens and span."""
    ways = {name: (f"local:{path}", _strategy(name)) for name, path in recipe.models(folder).items()}
    ways |= {f"demo model, {name}": ("local:@atlas", name) for name in DEMO}
    for name, (backend, strategy) in ways.items():
        path = folder / frontier.QUALITY / f"{name}.jsonl"
        if not path.exists():
            write_answers(path, asyncio.run(answer_all(backend, strategy, proof_questions())))
            typer.echo(f"{name}: {len(read_answers(path))} answers")


@app.command()
def pace(
    folder: Folder,
    names: Annotated[list[str], typer.Argument(help="Models, as the table calls them.")],
    every: Annotated[int, typer.Option(help="Ask every so many questions only.")] = 2,
    servers: Annotated[
        list[str] | None, typer.Option("--server", help="SGLang servers, of the baseline first: sglang://...")
    ] = None,
) -> None:
    """Have the baseline and models answer one question at a time, in turns: seconds.

    On the local engine, or on a server for the baseline and one for each model.
    """
    places = recipe.models(folder)
    chosen = _chosen([recipe.BASELINE, *names], places)
    if servers and len(servers) != len(chosen):
        raise typer.BadParameter(f"Expected a server for each of {', '.join(chosen)}, got {len(servers)}.")
    urls = servers or [f"local:{places[name]}" for name in chosen]
    ways = {name: (url, _strategy(name)) for name, url in zip(chosen, urls, strict=True)}
    found = asyncio.run(time_each(ways, proof_questions()[::every]))
    place = folder / (frontier.SGLANG if servers else frontier.LOCAL)
    for name in names:  # with the baseline's seconds of the same turns
        write_answers(place / name / "baseline.jsonl", found[recipe.BASELINE])
        write_answers(place / name / "own.jsonl", found[name])


@app.command()
def report(
    folder: Folder,
    picture: Annotated[Path | None, typer.Option(help="Of the frontier.")] = None,
) -> None:
    """Print tables of the stages, of their first rounds and of the ablations, and draw the first one."""
    answered = frontier.answered(folder)
    rounds = [name for name in answered if "round 1" in name]
    stages = [name for name in answered if name not in {recipe.BASELINE, *rounds, *recipe.ABLATIONS}]
    ablations = [name for name in recipe.ABLATIONS if name != recipe.ABLATED_BASELINE]
    rows = frontier.read_rows(folder, stages, baseline=recipe.BASELINE)
    typer.echo(frontier.written(rows))
    typer.echo(frontier.written(frontier.read_rows(folder, rounds, baseline=recipe.BASELINE)))
    typer.echo(frontier.written(frontier.read_rows(folder, ablations, baseline=recipe.ABLATED_BASELINE)))
    if picture is not None:
        frontier.draw(rows, picture)


@app.command()
def ship(
    folder: Folder, target: Annotated[Path, typer.Argument(help="Where the model goes.")] = SHIPPED
) -> None:
    """Copy the model that is the fastest within 0.02 of the baseline's quality, once `pace` timed them."""
    places = recipe.models(folder)
    names = set(frontier.answered(folder)) & places.keys() - {recipe.BASELINE, *recipe.ABLATIONS}
    name = frontier.fastest(frontier.read_rows(folder, names, baseline=recipe.BASELINE))
    if name is None:
        raise typer.BadParameter("Expected a model within 0.02 of the baseline's quality, got none.")
    ignored = shutil.ignore_patterns(*recipe.NOT_SHIPPED)
    shutil.copytree(places[name], target, ignore=ignored, dirs_exist_ok=True)
    typer.echo(f"{name}: {target}")


def _strategy(name: str) -> str:
    """How a model decodes: as it was trained to."""
    return "sequential" if name in (recipe.BASELINE, recipe.ABLATED_BASELINE) else "pasta"


def _chosen(names: Sequence[str] | None, known: Collection[str]) -> list[str]:
    """These, or all that are known. Raises BadParameter where some are not."""
    if unknown := set(names or ()) - set(known):
        raise typer.BadParameter(f"Expected some of {', '.join(known)}, got {', '.join(sorted(unknown))}.")
    return list(names or known)


if __name__ == "__main__":
    app()
