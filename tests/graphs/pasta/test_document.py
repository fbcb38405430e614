"""Annotated answers: round trips, problems, and what could be decoded side by side."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from flowdecode.errors import PlanSyntaxError
from flowdecode_backends.words import split
from flowdecode_graphs.pasta.document import Chunk, Document, Sync, problems, theoretical_speedup
from flowdecode_graphs.pasta.language import Tag, TagReader, promise_tag

TEA, COFFEE = '<promise topic="tea" tokens="20"/>', '<promise topic="coffee" tokens="30"/>'
ANSWER = (
    f"Two drinks. {TEA}<async>Tea is mild.</async>\n{COFFEE}<async>Coffee is strong and black.</async>"
    "\n<sync/>So drink tea."
)


def is_plain(text: str) -> bool:
    reader = TagReader()
    return not any(isinstance(event, Tag) for event in (*reader.feed(text), *reader.finish()))


TEXT = (
    st.text(max_size=12) | st.lists(st.sampled_from(["<", "<a", "sync", "tea\n"]), max_size=4).map("".join)
).filter(is_plain)
TOPICS = st.text(min_size=1, max_size=12).filter(
    lambda topic: topic.strip() != "" and not set(topic) & set('"<>\n')
)
CHUNKS = st.builds(Chunk, TOPICS, st.integers(1, 200).map(lambda tens: 10 * tens), TEXT)


@st.composite
def documents(draw: st.DrawFn) -> Document:
    """Any document: no text is empty or follows another one, no sync has nothing to wait for."""
    parts: list[str | Chunk | Sync] = []
    outstanding = False
    for part in draw(st.lists(TEXT | CHUNKS | st.just(Sync()), max_size=12)):
        if isinstance(part, str) and (not part or (parts and isinstance(parts[-1], str))):
            continue
        if isinstance(part, Sync) and not outstanding:
            continue
        outstanding = isinstance(part, Chunk) or (outstanding and not isinstance(part, Sync))
        parts.append(part)
    return Document(tuple(parts))


@given(documents())
def test_what_is_written_is_read_again(document: Document) -> None:
    text = str(document)
    assert problems(text) == []
    assert Document.parse(text) == document
    assert str(Document.parse(text)) == text
    assert len(document.text) <= len(text)


@given(documents())
def test_work_and_span_agree_with_the_parts(document: Document) -> None:
    plan = document.plan(len)
    given_to_threads = sum(len("<async>") for part in document.parts if isinstance(part, Chunk))
    assert plan.work == len(str(document)) - given_to_threads
    assert 0 <= plan.span <= plan.work
    chunks = [node for node in plan.nodes if node.offset]
    assert [node.title for node in chunks] == [p.topic for p in document.parts if isinstance(p, Chunk)]
    if not any(isinstance(part, Chunk) for part in document.parts):
        assert plan.span == plan.work == len(document.text)


def test_a_document_is_text_chunks_and_syncs() -> None:
    document = Document.parse(ANSWER)
    assert document.parts == (
        "Two drinks. ",
        Chunk("tea", 20, "Tea is mild."),
        "\n",
        Chunk("coffee", 30, "Coffee is strong and black."),
        "\n",
        Sync(),
        "So drink tea.",
    )
    assert document.text == "Two drinks. Tea is mild.\nCoffee is strong and black.\nSo drink tea."


def test_neighbouring_texts_are_one() -> None:
    chunk = Chunk("tea", 10, "")
    assert Document.of(["", "Two ", "", "drinks", chunk, "", Sync(), "So ", "tea."]).parts == (
        "Two drinks",
        chunk,
        Sync(),
        "So tea.",
    )
    assert Document.of([]).parts == Document.of([""]).parts == ()


def test_the_graph_of_a_document() -> None:
    def count(text: str) -> int:
        return {"</async>": 1, "<sync/>": 1}.get(text, len(split(text)))

    plan = Document.parse(ANSWER).plan(count)
    promise = len(split(TEA))
    assert [(node.id, node.title, node.parents) for node in plan.nodes] == [
        (1, "Main thread", ()),
        (2, "tea", ()),
        (3, "coffee", ()),
        (4, "Main thread", (1, 2, 3)),
    ]
    assert [node.offset for node in plan.nodes] == [0, 4 + promise, 4 + 2 * promise + 1, 0]
    main, tea, coffee, end = (node.expected_tokens for node in plan.nodes)
    assert (main, tea, coffee, end) == (4 + 2 * promise + 2 + 1, 4 + 1, 6 + 1, 4)
    assert plan.work == main + tea + coffee + end
    assert plan.span == plan.nodes[2].offset + coffee + end
    plain = count("Two drinks. Tea is mild.\nCoffee is strong and black.\nSo drink tea.")
    assert theoretical_speedup(Document.parse(ANSWER), count) == plain / plan.span
    assert theoretical_speedup(Document.parse(ANSWER), count, baseline=2 * plan.span) == 2.0


def test_an_answer_without_promises_has_nothing_to_gain() -> None:
    document = Document.parse("Tea is mild.")
    assert (document.plan(len).span, theoretical_speedup(document, len)) == (12, 1.0)
    assert theoretical_speedup(Document(()), len) == 1.0


def test_a_chunk_behind_a_sync_starts_behind_all_before_it() -> None:
    long, short = promise_tag("long", 100), promise_tag("short", 10)
    text = f"{long}<async>{'x' * 100}</async><sync/>a{short}<async>y</async>"
    plan = Document.parse(text).plan(lambda text: 1 if text.startswith("<") else len(text))
    assert [node.parents for node in plan.nodes] == [(), (), (1, 2), (1, 2)]
    assert plan.nodes[3].offset == 1 + 101 + 1 + 1
    assert plan.span == plan.nodes[3].offset + 2


@pytest.mark.parametrize(
    ("text", "offset", "message"),
    [
        (f"{TEA}<async>a{COFFEE}</async>", 42, "chunks do not nest"),
        (f"{TEA}<async>a<async>b</async>", 42, "chunks do not nest"),
        (f"{TEA}<async>a<sync/></async>", 42, "chunks do not nest"),
        (f"a{TEA}b<sync/>", 1, "Expected <async> behind the promise, got none"),
        (f"{TEA}{COFFEE}<async>b</async>", 0, "Expected <async> behind the promise"),
        (f"a{TEA}", 1, "Expected <async> behind the promise"),
        ("a<async>b</async>", 1, "Expected a promise before <async>"),
        ("a<sync/>", 1, "nothing is outstanding"),
        (f"{TEA}<async>b</async><sync/><sync/>", 57, "nothing is outstanding"),
        ("a</async>", 1, "no chunk is open"),
        (f"{TEA}<async>b", 34, "the chunk is not closed"),
        ('a<promise topic="tea"/><async>b</async>', 1, 'Expected tokens="...", got none'),
        ('<promise tokens="20"/><async>b</async>', 0, 'Expected topic="...", got none'),
        (f"{TEA}<async>b</async><sync />", 50, "Expected <sync/>, got '<sync />'"),
        ("a</promise>", 1, "got '</promise>'"),
        ("a<promise \n", 1, "Expected a tag that ends on its line"),
        ("a<promise ", 1, "Expected the end of the tag"),
    ],
)
def test_what_is_wrong_is_said_with_its_place(text: str, offset: int, message: str) -> None:
    first = problems(text)[0]
    assert first.offset == offset
    assert message in first.message
    with pytest.raises(PlanSyntaxError, match=f"line 1, column {offset + 1}"):
        Document.parse(text)


def test_all_problems_are_told_in_order() -> None:
    found = problems("</async>\n<sync/>\n<promise/>")
    assert [problem.offset for problem in found] == [0, 9, 17, 17]


@given(
    st.lists(
        st.sampled_from([TEA, "<async>", "</async>", "<sync/>", "a", "<promise ", "</sync>"]), max_size=10
    )
)
def test_any_text_is_read_and_only_the_valid_ones_are_documents(pieces: list[str]) -> None:
    text = "".join(pieces)
    if problems(text):
        with pytest.raises(PlanSyntaxError):
            Document.parse(text)
    else:
        assert str(Document.parse(text)) == text


@pytest.mark.parametrize(
    "part", ["a<sync/>", Chunk("tea", 20, "<async>"), Chunk('"', 20, "a"), Chunk("tea", 25, "a"), "<sync "]
)
def test_what_could_not_be_read_again_is_not_written(part: str | Chunk) -> None:
    with pytest.raises(ValueError, match="Expected"):
        str(Document((part,)))


def test_exact_lengths_are_kept_where_they_are_asked_for() -> None:
    text = '<promise topic="tea" tokens="23"/><async>Tea.</async>'
    document = Document.parse(text, exact=True)
    assert str(document) == text
    assert document.plan(len).nodes[1].offset == text.index("<async>")
    assert document == Document((Chunk("tea", 23, "Tea."),), exact=True)
    with pytest.raises(PlanSyntaxError, match="a multiple of ten"):
        Document.parse(text)
