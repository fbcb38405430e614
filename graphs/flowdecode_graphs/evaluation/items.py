"""What is asked: prompts from CSV, JSONL, a Hugging Face dataset, or the Atlas."""

from __future__ import annotations

import csv
import hashlib
from collections.abc import Iterable, Mapping, Sequence
from importlib import import_module
from pathlib import Path
from typing import Any, cast

import msgspec

from flowdecode.errors import ConfigurationError
from flowdecode_graphs.atlas import Question, Split, heldout_questions, questions, reference
from flowdecode_graphs.atlas.tasks import Guide

__all__ = ["ATLAS_NAME", "Item", "atlas_items", "read_items"]

ATLAS_NAME = "atlas"
PROMPT_FIELDS = ("prompt", "request", "question", "instruction", "text")
CATEGORY_FIELDS = ("category", "kind", "dataset")
LABEL_FIELD = "label"
DRAWS_WITHOUT_NEWS = 10_000
"""Questions that come again one after the other, behind which a stream is taken to have no more."""
SPLITS = ("test", "validation", "train")
"""Of a dataset with several, the first of these."""


class Item(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """One prompt, and what is known of it."""

    prompt: str
    category: str | None = None
    independent: bool | None = None
    """The label: whether the answer's parts are independent of each other."""
    parallel: bool | None = None
    """Whether a plan has anything to gain: independent parts, or some that others then rest on."""
    question: Question | None = None
    """The Atlas's own, which has an exact score."""

    @property
    def id(self) -> str:
        """The same for the same prompt, whatever file it stands in."""
        return hashlib.sha256(self.prompt.encode()).hexdigest()[:12]


def read_items(source: str, *, limit: int | None = None) -> list[Item]:
    """The prompts of `source`, each once; of more than `limit`, so many, spread evenly over all.

    `source` is `atlas` (the held-out questions), a CSV file with a header (`,`, `;` or tabs), a JSONL file of
    objects, or a Hugging Face dataset: a folder, or the name of one on the hub. The prompt is the first field
    of `PROMPT_FIELDS` that is there, the category that of `CATEGORY_FIELDS`; `label` is 0 or 1. Raises
    ConfigurationError.
    """
    if source == ATLAS_NAME:
        found = [_of_atlas(question) for question in heldout_questions()]
    else:
        found = [_read(record, f"{source}, record {n}") for n, record in enumerate(_records(source), start=1)]
    items = list({item.prompt: item for item in found}.values())
    if not items:
        raise ConfigurationError(f"Expected at least one prompt, got none - in {source!r}.")
    if limit is None or limit >= len(items):
        return items
    return [items[place * len(items) // limit] for place in range(limit)]


def atlas_items(split: Split, limit: int, *, seed: int) -> list[Item]:
    """So many different questions of the Atlas's split, or all that its stream has of them."""
    found: dict[str, Item] = {}
    stream = questions(split, seed)
    again = 0
    while len(found) < limit and again < DRAWS_WITHOUT_NEWS:
        question = next(stream)
        again = again + 1 if question.prompt in found else 0
        found.setdefault(question.prompt, _of_atlas(question))
    return list(found.values())


def _of_atlas(question: Question) -> Item:
    known = reference(question)
    return Item(
        prompt=question.prompt,
        category="long guide" if isinstance(question.task, Guide) and question.task.long else question.kind,
        independent=known.route == "A",
        parallel=not known.direct,
        question=question,
    )


def _records(source: str) -> Iterable[Mapping[str, Any]]:
    path = Path(source)
    try:
        if path.suffix == ".csv":
            return _csv_records(path)
        if path.suffix in (".jsonl", ".ndjson"):
            lines = path.read_bytes().splitlines()
            return [msgspec.json.decode(line, type=dict[str, Any]) for line in lines if line.strip()]
    except (OSError, UnicodeError, csv.Error, msgspec.MsgspecError) as error:
        raise ConfigurationError(f"Expected prompts, got {source!r}: {error} - at --prompts.") from None
    return _dataset_records(path)


def _csv_records(path: Path) -> list[dict[str, Any]]:
    """The delimiter is the one that the header has most of."""
    with path.open(encoding="utf-8-sig", newline="") as file:
        header = file.readline()
        file.seek(0)
        delimiter = max(",;\t", key=header.count)
        return list(csv.DictReader(file, delimiter=delimiter, strict=True))


def _dataset_records(path: Path) -> Iterable[Mapping[str, Any]]:
    """A dataset that was saved to a folder, or whatever `datasets.load_dataset` finds; one split of it."""
    try:
        datasets: Any = import_module("datasets")
    except ImportError:
        raise ConfigurationError(
            f"Expected a .csv or .jsonl file, or the package that reads Hugging Face datasets, got {path}. "
            "Install it: pip install 'flowdecode[bench]'."
        ) from None
    saved = any((path / name).exists() for name in ("state.json", "dataset_dict.json"))
    try:
        loaded: Any = datasets.load_from_disk(str(path)) if saved else datasets.load_dataset(str(path))
    except (OSError, ValueError) as error:
        raise ConfigurationError(f"Expected a dataset, got {path}: {error} - at --prompts.") from None
    if isinstance(loaded, Mapping):
        splits = cast("Mapping[str, Any]", loaded)
        return list(splits[next((name for name in SPLITS if name in splits), next(iter(splits)))])
    return list(loaded)


def _read(record: Mapping[str, Any], where: str) -> Item:
    prompt = _field(record, PROMPT_FIELDS)
    if not isinstance(prompt, str) or not prompt.strip():
        raise ConfigurationError(
            f"Expected a text in one of the fields {', '.join(PROMPT_FIELDS)}, "
            f"got {_shown(record)} - in {where}."
        )
    category, label = _field(record, CATEGORY_FIELDS), record.get(LABEL_FIELD)
    if label not in (None, 0, 1, "0", "1", ""):
        raise ConfigurationError(f"Expected the label 0 or 1, got {label!r} - in {where}.")
    independent = None if label in (None, "") else bool(int(label))
    return Item(
        prompt=prompt,
        category=str(category) if category not in (None, "") else None,
        independent=independent,
        parallel=independent,
    )


def _field(record: Mapping[str, Any], names: Sequence[str]) -> Any:
    return next((record[name] for name in names if name in record), None)


def _shown(record: Mapping[str, Any]) -> str:
    return f"the fields {', '.join(map(str, record)) or '(none)'}"
