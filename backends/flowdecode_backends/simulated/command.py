"""Measure an engine, and study load on the simulated one."""

from __future__ import annotations

import asyncio
import platform
from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import msgspec
import typer

from flowdecode.cli.installed import check_installed
from flowdecode.cli.output import remark
from flowdecode.cli.progress import progress
from flowdecode.cli.table import print_table
from flowdecode.errors import ConfigurationError

if TYPE_CHECKING:
    from flowdecode_backends.simulated.profile import Profile

__all__ = ["simulate"]

simulate = typer.Typer(
    name="simulate",
    help="Measure an engine, and study load on the simulated one.",
    no_args_is_help=True,
    add_completion=False,
)


@simulate.command()
def calibrate(
    url: Annotated[
        str, typer.Argument(metavar="URL", help="An idle server, as in sglang://127.0.0.1:30000.")
    ],
    *,
    out: Annotated[Path, typer.Option(metavar="FILE", help="Where the profile goes, as JSON.")],
    machine: Annotated[
        str, typer.Option(metavar="TEXT", help="What is measured, for those who read the profile.")
    ] = "",
    rounds: Annotated[int, typer.Option(min=1, help="How often everything is measured; medians count.")] = 5,
) -> None:
    """Measure a server, and write the profile that `simulated:?profile=FILE` takes its times from."""
    from flowdecode_backends.simulated import Simulated
    from flowdecode_backends.simulated import simulate as in_virtual_time
    from flowdecode_backends.simulated.calibration import calibrate as measure
    from flowdecode_backends.simulated.calibration import open_engine, probes_of
    from flowdecode_backends.simulated.fit import solver

    _ = solver()
    engine = open_engine(url)
    out.parent.mkdir(parents=True, exist_ok=True)

    async def measured(done: Callable[[], object]) -> Profile:
        async with engine:
            bar.begin(probes_of(engine, rounds=rounds))
            told = f"{engine.engine.model}, {machine or platform.platform()}, {datetime.now(UTC):%Y-%m-%d}"
            return await measure(engine, machine=told, rounds=rounds, done=done)

    with progress("probes") as bar:
        run = in_virtual_time if isinstance(engine, Simulated) else asyncio.run
        profile = run(measured(bar.done))
    profile.write(out)
    rows = [
        [name, str(fit.measured), f"{fit.median_error:.1%}", f"{fit.largest_error:.1%}"]
        for name, fit in profile.fits.items()
    ]
    print_table(["", "measured", "median error", "largest error"], rows)
    remark(f"The profile: {out}")


@simulate.command()
def load(
    urls: Annotated[
        list[str],
        typer.Argument(metavar="URL...", help="Simulated engines, as in 'simulated:?profile=sglang-cpu'."),
    ],
    *,
    out: Annotated[Path, typer.Option(metavar="DIR", help="Where load.json, load.md and load.svg go.")],
    strategies: Annotated[
        str,
        typer.Option(metavar="NAMES", help="By commas; plato:2 is plato with at most 2 parts at once."),
    ] = "plato,auto",
    users: Annotated[
        str, typer.Option(metavar="NUMBERS", help="Runs under way at once, for each engine, by commas.")
    ] = "1,2,4,8,16,32,64",
) -> None:
    """Show how what parallel decoding gains changes with load, in virtual time."""
    check_installed("bench")
    from flowdecode_backends.simulated.sweep import Sweep, Variant

    variants = [Variant.read(name) for name in ["sequential", *strategies.split(",")]]
    numbers = [_positive(number) for number in users.split(",")]
    sweeps: list[Sweep] = []
    out.mkdir(parents=True, exist_ok=True)
    for url in urls:
        Sweep.check(url)
    with progress("studies") as bar:
        bar.begin(len(urls) * len(variants) * len(numbers))
        for url in urls:
            sweeps.append(Sweep.run(url, variants, numbers, done=bar.done))
    (out / "load.json").write_bytes(msgspec.json.format(msgspec.json.encode(sweeps), indent=1) + b"\n")
    (out / "load.md").write_text("\n\n".join(sweep.markdown() for sweep in sweeps) + "\n", encoding="utf-8")
    from flowdecode_backends.simulated.picture import draw

    draw(sweeps, out / "load.svg")
    for sweep in sweeps:
        typer.echo(f"{sweep.url}\n")
        print_table(*sweep.table())
        typer.echo()
    remark(f"The picture: {out / 'load.svg'}")


def _positive(number: str) -> int:
    try:
        found = int(number)
    except ValueError:
        found = 0
    if found < 1:
        raise ConfigurationError(f"Expected numbers from 1 on, got {number!r} - at --users.")
    return found
