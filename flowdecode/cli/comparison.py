"""A run beside the sequential one."""

from __future__ import annotations

import msgspec

from flowdecode.result import Result

__all__ = ["Comparison"]


class Comparison(msgspec.Struct, frozen=True):
    """Two answers to one prompt: decoded one after the other, so that neither slows the other."""

    run: Result
    sequential: Result

    @property
    def actual_speedup(self) -> float:
        """Wall time of the sequential run over that of the other."""
        return _ratio(self.sequential.duration, self.run.duration)

    @property
    def theoretical_speedup(self) -> float:
        """Tokens of the sequential answer over the span, as PASTA reports it: an engine without limits."""
        return _ratio(self.sequential.work, self.run.span)

    @property
    def token_overhead(self) -> float:
        """All tokens that the run decoded, wasted ones too, over those of the sequential answer."""
        return _ratio(self.run.usage.completion_tokens, self.sequential.work)

    def __str__(self) -> str:
        run, sequential = self.run, self.sequential
        return (
            f"actual speedup {self.actual_speedup:.2f}x "
            f"({sequential.duration:.2f} s / {run.duration:.2f} s), "
            f"theoretical {self.theoretical_speedup:.2f}x ({sequential.work:,} tokens / span {run.span:,}), "
            f"{self.token_overhead:.2f}x the tokens; one after the other, the sequential run last"
        )

    def to_data(self) -> dict[str, object]:
        """Both results and the figures that follow from them, for JSON."""
        return {
            **msgspec.structs.asdict(self),
            "actual_speedup": self.actual_speedup,
            "theoretical_speedup": self.theoretical_speedup,
            "token_overhead": self.token_overhead,
        }


def _ratio(value: float, of: float) -> float:
    return value / of if of else 1.0
