"""Answers that are wrong on purpose, made from the reference answers."""

from __future__ import annotations

import re
from collections.abc import Callable

import msgspec

from flowdecode_graphs.atlas import ATLAS, REFUSAL, Question, reference
from flowdecode_graphs.atlas.facts import topic_facts
from flowdecode_graphs.atlas.tasks import Comparison, Outside, Short, Task

Spoiler = Callable[[Question], str]


def another(town: str) -> str:
    names = [each.name for each in ATLAS.towns]
    return names[(names.index(town) + 1) % len(names)]


def moved(task: Task) -> Question:
    """The same question about the next town."""
    match task:
        case Outside():
            pass
        case Comparison(first=first, second=second):
            task = msgspec.structs.replace(task, first=another(first), second=another(second))
        case Short(town=town, topic=topic, fact=fact):
            there = topic_facts(another(town), topic)[topic_facts(town, topic).index(fact)]
            task = Short(another(town), topic, there)
        case _:
            task = msgspec.structs.replace(task, town=another(task.town))
    return Question("", task)


def about_another_town(question: Question) -> str:
    """A right answer to a question about another town."""
    return reference(moved(question.task)).text


def of_another_town(question: Question) -> str:
    """Facts of another town under the name that was asked for."""
    task = question.task
    if isinstance(task, Outside):
        return REFUSAL
    if isinstance(task, Comparison):
        swapped = {task.first: task.second, task.second: task.first}
        return re.sub("|".join(swapped), lambda match: swapped[match[0]], reference(question).text)
    return about_another_town(question).replace(another(task.town), task.town)


def wrong_sums(question: Question) -> str:
    return re.sub(r"= (\d+)", lambda match: f"= {int(match[1]) + 10}", reference(question).text)


def first_part_only(question: Question) -> str:
    return reference(question).shown[0].text


def first_part_over_and_over(question: Question) -> str:
    answer = reference(question)
    return "\n\n".join([answer.shown[0].text] * max(2, len(answer.shown)))


def everything_twice(question: Question) -> str:
    text = reference(question).text
    return f"{text}\n\n{text}"


def refusal(question: Question) -> str:
    return REFUSAL if not isinstance(question.task, Outside) else "Certainly! It is a large subject."


def nothing(question: Question) -> str:
    return ""


SPOILERS: dict[str, Spoiler] = {
    spoiler.__name__: spoiler
    for spoiler in (
        of_another_town,
        about_another_town,
        wrong_sums,
        first_part_only,
        first_part_over_and_over,
        everything_twice,
        refusal,
        nothing,
    )
}
