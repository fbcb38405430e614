"""The page on PASTA-LANG says what is so."""

from __future__ import annotations

import re
from pathlib import Path

import msgspec

from flowdecode.backend import ModelProfile
from flowdecode_graphs.pasta import Pasta
from flowdecode_graphs.pasta.document import Document
from flowdecode_graphs.pasta.language import ASYNC, END, LONGEST_TAG, MAX_TOKENS, PROMISE, SYNC

PAGE = (Path(__file__).parents[3] / "docs" / "pasta-lang.md").read_text(encoding="utf-8")
BLOCKS = re.findall(r"^```(\w*)\n(.*?)^```$", PAGE, re.MULTILINE | re.DOTALL)


def test_its_example_is_in_the_language_and_its_grammar_has_the_tags() -> None:
    example, grammar = [text for language, text in BLOCKS if not language]
    document = Document.parse(example)
    assert str(document) == example
    assert [node.title for node in document.plan(len).nodes] == [
        "Main thread",
        "tea",
        "coffee",
        "Main thread",
    ]
    for text in (f"'{PROMISE} ", f"'{ASYNC}'", f"'{END}'", f"'{SYNC}'", f"from 10 to {MAX_TOKENS}\n"):
        assert text in grammar
    assert f"at most {LONGEST_TAG} characters" in PAGE


def test_its_snippets_run(capsys: object) -> None:
    (snippet,) = [text for language, text in BLOCKS if language == "python"]
    exec(snippet, {})
    (profile,) = [text for language, text in BLOCKS if language == "json"]
    assert list(msgspec.json.decode(profile, type=ModelProfile).tags) == [PROMISE, ASYNC, END, SYNC]


def test_it_names_every_setting() -> None:
    (call,) = re.findall(r"^    Pasta\((.*)\)$", PAGE, re.MULTILINE)
    settings = Pasta()
    assert call == ", ".join(f"{name}={getattr(settings, name)!r}" for name in Pasta.__struct_fields__)
