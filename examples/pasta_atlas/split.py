"""The questions that the proof is measured on: frozen before any training, trained on by none."""

from __future__ import annotations

from functools import cache

from flowdecode_graphs.atlas import Kind, Question, heldout_questions, questions

__all__ = ["COUNTS", "proof_questions"]

COUNTS: dict[Kind, int] = {"guide": 48, "comparison": 24, "choice": 24, "chain": 24}
"""The kinds that have something to decode asynchronously."""
SEED = 2


@cache
def proof_questions() -> tuple[Question, ...]:
    """Held-out questions, of which none is one of `heldout_questions`, and none comes twice."""
    return tuple(question for kind, count in COUNTS.items() for question in _first(kind, count))


def _first(kind: Kind, count: int) -> list[Question]:
    known = {question.prompt for question in heldout_questions()}
    found: dict[str, Question] = {}
    for question in questions("heldout", SEED, kind):
        if question.prompt not in known:
            found.setdefault(question.prompt, question)
        if len(found) == count:
            break
    return list(found.values())
