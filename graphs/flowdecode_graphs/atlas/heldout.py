"""The two hundred questions that quality is reported on: frozen, and never trained on."""

from __future__ import annotations

from functools import cache

from flowdecode_graphs.atlas.question import Question, questions
from flowdecode_graphs.atlas.tasks import Kind

__all__ = ["COUNTS", "heldout_questions"]

COUNTS: dict[Kind, int] = {
    "guide": 40,
    "comparison": 40,
    "choice": 40,
    "chain": 30,
    "short": 30,
    "outside": 20,
}
SEED = 1


@cache
def heldout_questions() -> tuple[Question, ...]:
    """No prompt comes twice; `tests/graphs/atlas/heldout.txt` holds what they are and how they score."""
    return tuple(question for kind, count in COUNTS.items() for question in _first(kind, count))


def _first(kind: Kind, count: int) -> list[Question]:
    found: dict[str, Question] = {}
    for question in questions("heldout", SEED, kind):
        found.setdefault(question.prompt, question)
        if len(found) == count:
            break
    return list(found.values())
