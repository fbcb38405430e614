"""How much slower an engine's steps have become: from sums over the decoding steps that it has taken."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

__all__ = ["NO_STEPS", "Pace", "counted"]

NO_STEPS = (0.0, 0.0, 0.0, 0.0, 0.0)
"""Sums over decoding steps of a batch of b in time t: 1, b, t, b², b·t. SGLang tells these."""
ENOUGH = 4
"""Steps from which on their mean is worth something."""
LATE = 100
"""Steps by which an answer that another one has overtaken may be behind."""


def counted(moments: Sequence[float], batch: int, time: float) -> tuple[float, ...]:
    """The sums with one more step."""
    n, b, t, bb, bt = moments
    return (n + 1, b + batch, t + time, bb + batch * batch, bt + batch * time)


class Pace:
    """What steps take by the size of their batch, from an engine's sums as they are read again and again.

    A line through all steps would go wrong on an engine that has been busy for long: batches then hardly
    differ, and the smaller ones have the longer contexts. So what came between two readings is kept by
    its batch (1, 2 to 3, 4 to 7, ...), and each of these counts alike: quiet times are not forgotten.
    """

    def __init__(self) -> None:
        self._read: Sequence[float] = NO_STEPS
        self._sizes: dict[int, tuple[float, float, float]] = {}
        """By the size's logarithm: steps, and sums of batch and time."""

    def read(self, moments: Sequence[float] | None, batch: int) -> tuple[float, float] | None:
        """A step's time for `batch` requests over that for one, and what one more adds, in the same measure.

        None while nothing can be said.
        """
        if moments is None or len(moments) < len(NO_STEPS):
            return None
        late = max(self._read[0] - LATE, self._read[0] / 2) <= moments[0] < self._read[0]
        if not late and any(now < before for now, before in zip(moments[:3], self._read[:3], strict=True)):
            # the engine has started again
            self._read, self._sizes = NO_STEPS, {}
        n, b, t = (now - before for now, before in zip(moments[:3], self._read[:3], strict=True))
        if n >= ENOUGH:
            self._read = tuple(moments[: len(NO_STEPS)])
            size = int(b / n).bit_length()
            steps, batches, times = self._sizes.get(size, (0.0, 0.0, 0.0))
            self._sizes[size] = (steps + n, batches + b, times + t)
        sums = moments
        if len(self._sizes) > 1:
            sums = _sums((batches / steps, times / steps) for steps, batches, times in self._sizes.values())
        growth = _growth(sums)
        return None if growth is None else (1 + growth * max(0, batch - 1), growth)


def _sums(points: Iterable[tuple[float, float]]) -> tuple[float, ...]:
    points = list(points)
    return (
        len(points),
        sum(b for b, _ in points),
        sum(t for _, t in points),
        sum(b * b for b, _ in points),
        sum(b * t for b, t in points),
    )


def _growth(moments: Sequence[float]) -> float | None:
    """What a request more adds to a step, over a step for one, by least squares; None without a spread."""
    n, b, t, bb, bt = moments[: len(NO_STEPS)]
    spread = n * bb - b * b
    if spread <= 0:
        return None
    each = max(0.0, (n * bt - b * t) / spread)
    fixed = max(0.0, (t - each * b) / n)
    return each / (fixed + each) if fixed + each > 0 else None
