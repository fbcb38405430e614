"""The Atlas: a made-up world with questions, reference answers and an exact score.

    for question in questions("train", seed=1):
        answer = reference(question)
        assert score(question, answer.text).value == 1.0

`docs/atlas.md` describes world, questions and score.
"""

from __future__ import annotations

from flowdecode_graphs.atlas.answers import Part, Reference, Route, reference
from flowdecode_graphs.atlas.heldout import heldout_questions
from flowdecode_graphs.atlas.outside import REFUSAL
from flowdecode_graphs.atlas.question import Question, Split, questions, split_of
from flowdecode_graphs.atlas.scorer import Score, score
from flowdecode_graphs.atlas.tasks import KINDS, Kind, Task
from flowdecode_graphs.atlas.world import ATLAS

__all__ = [
    "ATLAS",
    "KINDS",
    "REFUSAL",
    "Kind",
    "Part",
    "Question",
    "Reference",
    "Route",
    "Score",
    "Split",
    "Task",
    "heldout_questions",
    "questions",
    "reference",
    "score",
    "split_of",
]
