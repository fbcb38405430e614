"""Annotated answers about the Atlas by rule: what rests on what is known, so no model has to judge it.

There is more than one good way to annotate an answer, and some that are bad. The dice choose, so that a
model trained on these has something to choose from, and the preference stage something to prefer.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterator
from typing import Literal

import msgspec

from flowdecode_graphs.atlas.answers import Part, reference
from flowdecode_graphs.atlas.dice import Dice
from flowdecode_graphs.atlas.question import Question, Split, questions
from flowdecode_graphs.atlas.tasks import Chain, Guide
from flowdecode_graphs.pasta.document import Chunk, Document, Sync
from flowdecode_graphs.pasta.training.lengths import Lengths, with_lengths
from flowdecode_graphs.pasta.training.rows import Example

__all__ = ["TOPIC", "annotate_reference", "atlas_examples"]

TOPIC = "part"
"""The topic that says nothing."""

_GAP = "\n\n"
_ANY_LENGTH = 10

Way = Literal["body", "whole", "main"]
"""A section: its heading in the main thread and its body a chunk, all of it a chunk, or all of it in the
main thread."""

_STYLES: dict[str, int] = {"body": 60, "whole": 15, "body, last main": 12, "mixed": 6, "main": 7}
"""Of the sections of an answer, in percent."""
CARELESS = 12
"""Percent of the answers whose dependent parts are promised with no sync before them."""
CHAINS = 40
"""Percent of the chains that are annotated: each step needs the one before it, and little is gained."""


class _Style(msgspec.Struct, frozen=True):
    """How one answer is annotated."""

    sections: str
    careless: bool
    """Whether it waits for nothing."""
    late: bool
    """Whether a sync comes as late as it can: behind the heading of what needs it."""
    eager: bool
    """Whether what others need is a chunk too."""
    conclusion: bool
    """Whether a conclusion is a chunk although nothing runs beside it."""
    extra: bool
    """Whether there is one sync that nobody needs."""
    headings: bool
    """Whether topics are whole headings."""


def annotate_reference(
    question: Question,
    dice: Dice,
    count: Callable[[str], int],
    *,
    lengths: Lengths = "tens",
    topic: bool = True,
    sync: bool = True,
) -> Example:
    """The reference answer to a question, annotated in a way that the dice choose.

    `count` counts tokens. `lengths` are those of the promises; without `topic` every promise has the
    same one, without `sync` nothing is waited for. None of these changes what the dice choose.
    """
    right = reference(question)
    style = _draw_style(dice)
    plain = right.route == "C" or (right.direct and dice.below(100) >= CHAINS)
    document = Document((right.text,)) if plain else _annotated(question, style, dice)
    parts = list(document.parts)
    if not topic:
        parts = [
            msgspec.structs.replace(part, topic=TOPIC) if isinstance(part, Chunk) else part for part in parts
        ]
    if not sync:
        parts = [part for part in parts if not isinstance(part, Sync)]
    document = with_lengths(Document.of(parts), count, lengths)
    assert document.text == right.text
    return Example(question.prompt, str(document), category=_category(question))


def atlas_examples(
    split: Split,
    seed: int,
    count: Callable[[str], int],
    *,
    lengths: Lengths = "tens",
    topic: bool = True,
    sync: bool = True,
) -> Iterator[Example]:
    """Examples without end, the same for the same seed."""
    dice = Dice("annotations", split, seed)
    for question in questions(split, seed):
        yield annotate_reference(question, dice, count, lengths=lengths, topic=topic, sync=sync)


def _category(question: Question) -> str:
    task = question.task
    return "long guide" if isinstance(task, Guide) and task.long else question.kind


def _draw_style(dice: Dice) -> _Style:
    return _Style(
        sections=dice.choice([sections for sections, share in _STYLES.items() for _ in range(share)]),
        careless=dice.below(100) < CARELESS,
        late=dice.below(100) < 85,
        eager=dice.below(100) < 35,
        conclusion=dice.below(100) < 15,
        extra=dice.below(100) < 4,
        headings=dice.below(100) < 30,
    )


def _annotated(question: Question, style: _Style, dice: Dice) -> Document:
    """The parts in their order, each in its way, with the syncs that they need."""
    numbered = [
        (number, part) for number, part in enumerate(reference(question).parts, start=1) if part.shown
    ]
    beside = Counter(part.parents for _, part in numbered)
    needed = {parent for _, part in numbered for parent in part.parents}
    extra = dice.choice(numbered)[0] if style.extra else 0
    found: list[str | Chunk | Sync] = []
    outstanding: set[int] = set()
    for number, part in numbered:
        last = number == numbered[-1][0]
        way = _way(style, dice, alone=beside[part.parents] == 1, needed=number in needed, last=last)
        waits = bool(outstanding & set(part.parents)) and not style.careless
        waits = waits or (number == extra and bool(outstanding))
        heading: list[str | Chunk | Sync] = [f"## {part.heading}{_GAP}"] if way != "whole" else []
        sync = [Sync()] if waits else []
        found += [*heading, *sync] if style.late else [*sync, *heading]
        if waits:
            outstanding.clear()
        if way == "main":
            found.append(part.body)
        else:
            text = part.body if way == "body" else part.text
            found.append(Chunk(_topic(question, part, style, way), _ANY_LENGTH, text))
            outstanding.add(number)
        if not last:
            found.append(_GAP)
    return Document.of(found)


def _way(style: _Style, dice: Dice, *, alone: bool, needed: bool, last: bool) -> Way:
    """How one section is written; `alone`: nothing could be decoded beside it."""
    drawn: Way = dice.choice(("body", "whole", "main"))
    if alone and not style.careless and not (style.eager if needed else style.conclusion):
        return "main"
    if style.sections == "mixed":
        return drawn
    if style.sections == "body, last main":
        return "main" if last else "body"
    return "whole" if style.sections == "whole" else "main" if style.sections == "main" else "body"


def _topic(question: Question, part: Part, style: _Style, way: Way) -> str:
    """What the chunk's thread has to know: of a town that was asked for by a clue, also its name."""
    found_first = isinstance(question.task, Chain) and way == "whole"
    return part.heading if style.headings or found_first else part.title
