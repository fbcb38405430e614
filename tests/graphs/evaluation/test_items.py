from __future__ import annotations

from importlib import import_module
from pathlib import Path
from typing import Any

import pytest

from flowdecode.errors import ConfigurationError
from flowdecode_graphs.atlas import KINDS, heldout_questions
from flowdecode_graphs.evaluation.items import read_items


def write(path: Path, text: str) -> str:
    path.write_text(text, encoding="utf-8")
    return str(path)


def test_a_csv_may_have_semicolons_labels_and_quoted_line_breaks(tmp_path: Path) -> None:
    source = write(tmp_path / "labels.csv", 'label;request\n1;Three, or four?\n0;"First;\nthen."\n')
    first, second = read_items(source)
    assert (first.prompt, first.independent, first.parallel) == ("Three, or four?", True, True)
    assert (second.prompt, second.independent) == ("First;\nthen.", False)


def test_jsonl_has_a_prompt_and_a_category_and_what_else_it_likes(tmp_path: Path) -> None:
    source = write(
        tmp_path / "p.jsonl",
        '{"instruction": "Tea?", "dataset": "koala", "generator": 1}\n\n{"instruction": "Milk?"}\n',
    )
    assert [(item.prompt, item.category) for item in read_items(source)] == [
        ("Tea?", "koala"),
        ("Milk?", None),
    ]


def test_a_dataset_that_was_saved_to_a_folder(tmp_path: Path) -> None:
    datasets: Any = import_module("datasets")  # It has no types.

    rows = {"question": ["Tea?", "Milk?"], "category": ["hot", "cold"]}
    saved = datasets.Dataset.from_dict(rows)
    saved.save_to_disk(str(tmp_path / "one"))
    splits = datasets.DatasetDict({"train": saved.select([0]), "test": saved.select([1])})
    splits.save_to_disk(str(tmp_path / "two"))
    assert [item.prompt for item in read_items(str(tmp_path / "one"))] == ["Tea?", "Milk?"]
    assert [item.category for item in read_items(str(tmp_path / "two"))] == ["cold"]


def test_the_atlas_knows_its_labels_and_scores() -> None:
    items = read_items("atlas")
    assert [item.question for item in items] == list(heldout_questions())
    by_kind = {item.category: item for item in items}
    assert set(by_kind) == {*KINDS, "long guide"}
    assert (by_kind["guide"].independent, by_kind["guide"].parallel) == (True, True)
    assert (by_kind["comparison"].independent, by_kind["comparison"].parallel) == (False, True)
    assert (by_kind["short"].independent, by_kind["short"].parallel) == (False, False)


def test_a_limit_takes_prompts_from_the_whole_file() -> None:
    kinds = [item.category for item in read_items("atlas", limit=10)]
    assert len(kinds) == 10
    assert set(kinds) == {item.category for item in read_items("atlas")}


def test_a_prompt_is_asked_once_and_known_by_its_text(tmp_path: Path) -> None:
    source = write(tmp_path / "p.csv", "prompt\nTea?\nMilk?\nTea?\n")
    other = write(tmp_path / "q.csv", "prompt\nWater?\nTea?\n")
    assert [item.prompt for item in read_items(source)] == ["Tea?", "Milk?"]
    assert read_items(source)[0].id == read_items(other)[1].id != read_items(source)[1].id


@pytest.mark.parametrize(
    ("name", "text", "message"),
    [
        ("p.csv", "ask\nTea?\n", "Expected a text in one of the fields prompt, request"),
        ("p.csv", "prompt\n", "Expected at least one prompt"),
        ("p.csv", "prompt,label\nTea?,maybe\n", "Expected the label 0 or 1, got 'maybe'"),
        ("p.jsonl", "{prompt}\n", "JSON is malformed"),
        ("p.jsonl", '{"prompt": 3}\n', "Expected a text in one of the fields"),
    ],
)
def test_what_is_wrong_with_a_file_is_said(tmp_path: Path, name: str, text: str, message: str) -> None:
    with pytest.raises(ConfigurationError) as caught:
        read_items(write(tmp_path / name, text))
    assert message in str(caught.value)
    assert name in str(caught.value)


def test_a_file_that_is_not_there(tmp_path: Path) -> None:
    with pytest.raises(ConfigurationError, match="No such file"):
        read_items(str(tmp_path / "none.csv"))
