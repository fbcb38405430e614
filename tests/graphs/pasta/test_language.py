"""PASTA-LANG's tags from a stream: any cut gives the same, in linear time."""

from __future__ import annotations

import time
from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from flowdecode_graphs.pasta.language import (
    DEFAULT_TOKENS,
    LONGEST_TAG,
    MAX_TOKENS,
    Tag,
    TagReader,
    promise_tag,
)

PIECES = st.sampled_from(
    [
        "<",
        ">",
        "/",
        '"',
        "\n",
        " ",
        "tea",
        "<promise",
        ' topic="tea"',
        ' tokens="60"',
        "/>",
        "<async>",
        "</async>",
        "<sync/>",
        "<sync />",
        "</promise>",
        "<b>",
        "x" * 150,
    ]
)
TEXTS = st.lists(PIECES, max_size=30).map("".join) | st.text(alphabet='<>/ promiseasync"=\n', max_size=60)


def read(*pieces: str) -> list[str | Tag]:
    """Texts and tags, with neighbouring texts joined."""
    reader = TagReader()
    found: list[str | Tag] = []
    events = [event for piece in pieces for event in reader.feed(piece)]
    for event in (*events, *reader.finish()):
        if found and isinstance(event, str) and isinstance(found[-1], str):
            found[-1] += event
        else:
            found.append(event)
    return found


def test_the_four_tags_are_told_from_text() -> None:
    promise = Tag("promise", '<promise topic="green tea" tokens="60"/>', "green tea", 60)
    text = f"Tea: {promise.source}<async>Mild.</async> and <sync/>so."
    assert read(text) == [
        "Tea: ",
        promise,
        Tag("async", "<async>"),
        "Mild.",
        Tag("end", "</async>"),
        " and ",
        Tag("sync", "<sync/>"),
        "so.",
    ]


@given(TEXTS, st.lists(st.integers(min_value=0, max_value=60), max_size=6))
def test_any_cut_gives_the_same(text: str, cuts: list[int]) -> None:
    borders = sorted({0, *cuts, len(text)})
    pieces = [text[start:end] for start, end in pairwise(borders)]
    assert read(*pieces) == read(text) == read(*text)


@given(TEXTS)
def test_nothing_is_lost_and_what_is_left_is_known(text: str) -> None:
    reader, given_back, length = TagReader(), "", 0
    for event in reader.feed(text):
        if isinstance(event, str):
            given_back += event
        elif event.kind != "unclosed":
            given_back += event.source
        length = len(text) - reader.left
        assert text.startswith(given_back)
        assert len(given_back) <= length
    given_back += "".join(event if isinstance(event, str) else event.source for event in reader.finish())
    assert given_back == text


def test_text_comes_out_as_soon_as_it_can_be_no_tag() -> None:
    reader = TagReader()
    assert list(reader.feed("a < b <pro")) == ["a ", "<", " b "]
    assert list(reader.feed("mised")) == ["<promise"[:8], "d"]
    assert list(reader.feed("<as")) == []
    assert list(reader.finish()) == ["<as"]


@pytest.mark.parametrize(
    ("source", "topic", "tokens", "problem"),
    [
        ('<promise tokens="60"/>', "", 60, 'Expected topic="...", got none'),
        ('<promise topic=" " tokens="60"/>', "", 60, 'Expected topic="...", got an empty one'),
        ('<promise topic="tea"/>', "tea", DEFAULT_TOKENS, 'Expected tokens="...", got none'),
        ('<promise topic="tea" tokens="many"/>', "tea", DEFAULT_TOKENS, "Expected tokens, a multiple of ten"),
        ('<promise topic="tea" tokens="61"/>', "tea", 61, "got '61'"),
        ('<promise topic="tea" tokens="0"/>', "tea", 1, "got '0'"),
        ('<promise topic="tea" tokens="99990"/>', "tea", MAX_TOKENS, "from 10 to 2,000, got '99990'"),
        ('<promise tokens="60" topic="tea"/>', "tea", 60, "in this order, got tokens, topic"),
        ('<promise topic="tea" tokens="60" a="b"/>', "tea", 60, "got topic, tokens, a"),
        ("<promise topic='tea' tokens=60>", "tea", 60, "got another spelling"),
        ("<promise/>", "", DEFAULT_TOKENS, 'Expected topic="...", got none'),
    ],
    ids=str,
)
def test_a_promise_with_wrong_attributes_says_what_is_wrong(
    source: str, topic: str, tokens: int, problem: str
) -> None:
    (tag,) = read(source)
    assert isinstance(tag, Tag)
    assert (tag.kind, tag.topic, tag.tokens) == ("promise", topic, tokens)
    assert problem in str(tag.problem)
    assert repr(source)[:50] in str(tag.problem)


@pytest.mark.parametrize(
    ("source", "kind"),
    [
        ("<sync />", "sync"),
        ("<sync>", "sync"),
        ("<async >", "async"),
        ("</async >", "end"),
        ("<async/>", "broken"),
        ("</promise>", "broken"),
        ("</sync>", "broken"),
    ],
)
def test_other_spellings_are_reported(source: str, kind: str) -> None:
    (tag,) = read(source)
    assert isinstance(tag, Tag)
    assert (tag.kind, tag.source) == (kind, source)
    assert str(tag.problem).startswith("Expected ")


@pytest.mark.parametrize("text", ["<promise", "<promise topic=", "<sync ", "<async"])
def test_a_tag_that_the_end_cuts_off_is_no_text(text: str) -> None:
    shown, tag = read(f"tea {text}")
    assert isinstance(tag, Tag)
    assert (shown, tag.kind, tag.source) == ("tea ", "broken", text)


@pytest.mark.parametrize(
    "text", ["<promise topic=\n", '<promise topic="a" <b>', "<sync \n", '<promise topic="' + "tea " * 100]
)
def test_a_tag_that_never_ends_stays_text(text: str) -> None:
    shown, tag, *rest = read(text)
    assert isinstance(tag, Tag)
    assert tag.kind == "unclosed"
    assert isinstance(shown, str)
    assert shown == tag.source
    assert len(tag.source) <= LONGEST_TAG + 1
    assert shown + "".join(part for part in rest if isinstance(part, str)) == text


@pytest.mark.parametrize(
    "unit", ["<", "<promise ", "<sync/>", 'tea <promise topic="tea" tokens="60"/>', "<p<"]
)
def test_reading_takes_linear_time(unit: str) -> None:
    def seconds(text: str) -> float:
        reader = TagReader()
        start = time.process_time()
        for character in text:
            for _ in reader.feed(character):
                pass
        return time.process_time() - start

    short, long = unit * (4_000 // len(unit)), unit * (40_000 // len(unit))
    assert min(seconds(long) for _ in range(3)) < 40 * max(min(seconds(short) for _ in range(3)), 1e-4)


@pytest.mark.parametrize("longer", [0, 1])
@pytest.mark.parametrize("size", [1, 7, 500])
def test_the_longest_tag(longer: int, size: int) -> None:
    opening, rest = '<promise topic="', '" tokens="60"/>'
    topic = "x" * (LONGEST_TAG + 1 + longer - len(opening + rest))
    text = f"{opening}{topic}{rest}"
    assert text.index(">") == LONGEST_TAG + longer
    reader = TagReader()
    found = [part for at in range(0, len(text), size) for part in reader.feed(text[at : at + size])]
    kinds = [part.kind for part in found if isinstance(part, Tag)]
    assert kinds == ["unclosed" if longer else "promise"]


def test_a_promise_that_would_be_read_differently_is_not_written() -> None:
    assert promise_tag("green tea", 60) == '<promise topic="green tea" tokens="60"/>'
    for topic, tokens in (('a "b"', 60), ("", 60), ("a\nb", 60), ("tea", 61), ("tea", 0), ("x" * 300, 10)):
        with pytest.raises(ValueError, match="Expected"):
            promise_tag(topic, tokens)


def test_exact_lengths_are_read_and_written_where_they_are_asked_for() -> None:
    text = promise_tag("tea", 61, exact=True)
    assert list(TagReader(exact=True).feed(text)) == [Tag("promise", text, "tea", 61)]
    with pytest.raises(ValueError, match="Expected"):
        promise_tag("", 61, exact=True)
