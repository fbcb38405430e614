"""Examples in files."""

from __future__ import annotations

from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from flowdecode.errors import ConfigurationError
from flowdecode_graphs.pasta.training.rows import (
    Example,
    append_example,
    mend,
    read_examples,
    write_examples,
)

texts = st.text(st.characters(codec="utf-8"), max_size=20)
examples = st.builds(Example, texts, texts, st.none() | texts, st.none() | texts)


@given(some=st.lists(examples, max_size=4), last=examples)
def test_what_is_written_is_read(
    tmp_path_factory: pytest.TempPathFactory, some: list[Example], last: Example
) -> None:
    path = tmp_path_factory.mktemp("rows") / "new" / "rows.jsonl"
    write_examples(path, some)
    append_example(path, last)
    assert read_examples(path) == [*some, last]
    assert list(path.parent.iterdir()) == [path]


def test_blank_lines_and_other_fields_are_passed_over(tmp_path: Path) -> None:
    path = tmp_path / "rows.jsonl"
    path.write_text('\n{"prompt": "Tea?", "answer": "Tea.", "id": 3}\n  \n', encoding="utf-8")
    assert read_examples(path) == [Example("Tea?", "Tea.")]
    path.write_text("", encoding="utf-8")
    assert read_examples(path) == []


@pytest.mark.parametrize("line", [b'{"prompt": "Tea?"}', b'{"prompt": 1, "answer": ""}', b"Tea", b'"\xff"'])
def test_a_line_that_is_no_example_is_named(tmp_path: Path, line: bytes) -> None:
    path = tmp_path / "rows.jsonl"
    path.write_bytes(b'{"prompt": "", "answer": ""}\n' + line + b"\n")
    with pytest.raises(ConfigurationError, match=r"Expected lines of JSON with .*rows\.jsonl, line 2\."):
        read_examples(path)


def test_a_file_that_is_not_there_is_named(tmp_path: Path) -> None:
    with pytest.raises(ConfigurationError, match=r"Expected a file of examples, got .*rows"):
        read_examples(tmp_path / "rows.jsonl")


def test_a_line_that_was_broken_off_is_cut_off(tmp_path: Path) -> None:
    path = tmp_path / "rows.jsonl"
    mend(path)
    assert not path.exists()
    append_example(path, Example("Tea?", "Tea."))
    whole = path.read_bytes()
    path.write_bytes(whole + b'{"prompt": "Cof')
    mend(path)
    assert path.read_bytes() == whole
    mend(path)
    assert path.read_bytes() == whole
    path.write_bytes(whole.rstrip(b"\n"))
    mend(path)
    assert path.read_bytes() == whole, "it was complete but for its end"
