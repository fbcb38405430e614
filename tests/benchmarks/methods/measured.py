"""What one answer took, and the medians of several as a row of a table."""

from __future__ import annotations

import math
import statistics
from collections.abc import Sequence

import msgspec

__all__ = ["COLUMNS", "Measured", "row"]

COLUMNS = (
    "seconds",
    "requests",
    "prompt tokens",
    "cached",
    "prefilled",
    "decoded",
    "first token, ms",
    "first part, ms",
)


class Measured(msgspec.Struct, frozen=True):
    """Tokens of one answer and its times, in seconds from its start."""

    seconds: float
    requests: int
    prompt: int
    """Tokens of all prompts."""
    cached: int
    """Of them, those that the engine found in its prefix cache."""
    decoded: int
    first_token: float = math.nan
    """Until the first token of the answer's first part came; nan where nobody looked."""
    first_part: float = math.nan
    """Until that part was complete."""
    prefilled: int = 0
    """By the server's own count where it has one, requests that only fill the cache included."""


def row(runs: Sequence[Measured]) -> list[str]:
    """The medians, under `COLUMNS`."""
    middle = {
        field: statistics.median(getattr(run, field) for run in runs) for field in Measured.__struct_fields__
    }
    low, high = min(run.seconds for run in runs), max(run.seconds for run in runs)
    return [
        f"{middle['seconds']:.2f} ({low:.2f} to {high:.2f})",
        *(f"{middle[field]:,.0f}" for field in ("requests", "prompt", "cached", "prefilled", "decoded")),
        *(f"{middle[field] * 1000:,.0f}" for field in ("first_token", "first_part")),
    ]
