"""An engine that knows the right answers to the Atlas's questions, for every strategy, in virtual time."""

from __future__ import annotations

import re
from pathlib import Path

import flowdecode
from flowdecode.backend import Request
from flowdecode.flow import Flow
from flowdecode_backends.simulated import Simulated
from flowdecode_graphs.atlas import heldout_questions, reference
from flowdecode_graphs.evaluation.answers import Folder, Manifest, Settings
from flowdecode_graphs.evaluation.items import Item, read_items
from flowdecode_graphs.evaluation.variants import Variant
from flowdecode_graphs.plato.language import plan_text

QUESTIONS = {question.prompt: question for question in heldout_questions()}


def right_answer(request: Request) -> str:
    """What the reference says to a planner, a router, a part, a point, or the question itself."""
    turns = [turn["content"] for turn in request.context.messages() if turn["role"] == "user"]
    asked = turns[-1]
    (question,) = [QUESTIONS[prompt] for prompt in QUESTIONS if any(prompt in turn for turn in turns)]
    right = reference(question)
    if number := re.search(r"only part (\d+)", asked):
        return right.parts[int(number[1]) - 1].body
    if number := re.search(r"Write point (\d+)", asked):
        return right.points[int(number[1]) - 1]
    if "Write only the plan" in asked:
        return "direct" if right.direct else plan_text(right.plan.nodes)
    if "Say only A, B or C" in asked:
        return right.route
    return right.skeleton if "Give only the skeleton" in asked else right.text


class Engine:
    """Opens connections to one simulated engine, as `connect=`, and counts them."""

    def __init__(self) -> None:
        self.backend = Simulated(replies=right_answer)
        self.opened: list[str] = []

    def __call__(self, url: str) -> Flow:
        self.opened.append(url)
        return flowdecode.connect(self.backend)


def items_of(*kinds: str) -> tuple[Item, ...]:
    """The first question of each kind."""
    items = read_items("atlas")
    return tuple(
        next(item for item in items if item.question and item.question.kind == kind) for kind in kinds
    )


def begin(
    path: Path, items: tuple[Item, ...], variants: tuple[Variant, ...], repeat: int = 1, concurrency: int = 1
) -> tuple[Folder, Manifest]:
    """A folder for a benchmark."""
    folder = Folder(path)
    manifest = Manifest(
        settings=Settings(backend="simulated:", concurrency=concurrency),
        source="atlas",
        items=items,
        variants=tuple(variant.name for variant in variants),
        repeat=repeat,
    )
    return folder, folder.open(manifest)
