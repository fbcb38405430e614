"""Strategies under growing load, on one simulated engine or several behind one address."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import msgspec

from flowdecode.errors import ConfigurationError
from flowdecode.plugins import BackendURL, open_strategy
from flowdecode_backends.simulated.backend import Simulated, open_simulated
from flowdecode_backends.simulated.study import Point, study

__all__ = ["BASELINE", "Sweep", "Variant"]

BASELINE = "sequential"


class Variant(msgspec.Struct, frozen=True):
    """A strategy, and the most parts that it decodes at once."""

    strategy: str
    width: int | None = None

    @classmethod
    def read(cls, text: str) -> Variant:
        """`plato`, or `plato:2`. Raises ConfigurationError."""
        name, colon, width = text.strip().partition(":")
        _ = open_strategy(name)
        if colon and not (width.isdecimal() and int(width)):
            raise ConfigurationError(f"Expected a width from 1 on behind the colon, got {text!r}.")
        return cls(name, int(width) if colon else None)

    @property
    def name(self) -> str:
        return self.strategy if self.width is None else f"{self.strategy}, width {self.width}"


class Sweep(msgspec.Struct, frozen=True):
    """What became of the strategies as the load grew."""

    url: str
    variants: tuple[Variant, ...]
    """The baseline first."""
    points: tuple[tuple[Point, ...], ...]
    """For each number of users, a point of every variant."""

    @classmethod
    def run(
        cls,
        url: str,
        variants: Sequence[Variant],
        users: Sequence[int],
        *,
        done: Callable[[], object] = lambda: None,
    ) -> Sweep:
        """Study every variant with every number of users. Raises ConfigurationError for a wrong URL."""
        rows: list[tuple[Point, ...]] = []
        for number in users:
            row: list[Point] = []
            for variant in variants:
                row.append(study(_engine(url), variant.strategy, users=number, width=variant.width))
                done()
            rows.append(tuple(row))
        return cls(url, tuple(variants), tuple(rows))

    @staticmethod
    def check(url: str) -> None:
        """Raises ConfigurationError for a URL that is no simulated engine's."""
        _ = _engine(url)

    def gains(self, variant: int) -> list[float]:
        """How many times as fast as the baseline a variant is, for each number of users."""
        return [row[0].seconds / row[variant].seconds for row in self.points]

    def table(self) -> tuple[list[str], list[list[str]]]:
        """Header and rows: the baseline's time and tokens, and the gain of each variant."""
        header = ["users", f"{BASELINE}, s", "tokens/s"]
        for variant in self.variants[1:]:
            header.append(variant.name)
            if variant.strategy == "auto":
                header.append("in parts")
        rows: list[list[str]] = []
        for row in self.points:
            cells = [f"{row[0].users}", f"{row[0].seconds:.2f}", f"{row[0].tokens_per_second:,.0f}"]
            for variant, point in zip(self.variants[1:], row[1:], strict=True):
                cells.append(f"{row[0].seconds / point.seconds:.2f}")
                if variant.strategy == "auto":
                    cells.append(f"{point.parallel:.0%}")
            rows.append(cells)
        return header, rows

    def markdown(self) -> str:
        """The table, under the URL."""
        header, rows = self.table()
        lines = [header, ["---:"] * len(header), *rows]
        return f"`{self.url}`\n\n" + "\n".join(f"| {' | '.join(line)} |" for line in lines)


def _engine(url: str) -> Simulated:
    parsed = BackendURL.parse(url)
    if parsed.scheme != "simulated":
        raise ConfigurationError(f"Expected a simulated engine, such as 'simulated:', got {url!r}.")
    return open_simulated(parsed, api_key=None, headers={})
