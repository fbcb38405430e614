"""Mask, positions and targets, against the rules that they follow."""

from __future__ import annotations

from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from flowdecode_graphs.pasta.document import Document
from flowdecode_graphs.pasta.layout import Form, Layout, Promised, Said, Waited, lay_out, tokenized

PROMPT, TEA, COFFEE = (
    Said([1, 2, 3]),
    Promised([10, 11], [90, 20, 21, 91], 10),
    Promised([12], [90, 30, 91], 20),
)
PARTS: list[Said | Promised | Waited] = [
    PROMPT,
    TEA,
    Said([4]),
    COFFEE,
    Said([5]),
    Waited([80, 81]),
    Said([6, 7]),
]


def seen(layout: Layout, token: int) -> list[int]:
    """The tokens that a token sees, its first occurrence asked."""
    index = layout.tokens.index(token)
    return [layout.tokens[other] for indices in layout.seen[index] for other in indices]


def test_a_chunk_is_hidden_until_the_sync_and_from_other_chunks() -> None:
    layout = lay_out(PARTS)
    assert layout.tokens == [1, 2, 3, 10, 11, 90, 20, 21, 91, 4, 12, 90, 30, 91, 5, 80, 81, 6, 7]
    assert seen(layout, 21) == [1, 2, 3, 10, 11, 90, 20, 21]
    assert seen(layout, 30) == [1, 2, 3, 10, 11, 4, 12, 90, 30]
    assert seen(layout, 5) == [1, 2, 3, 10, 11, 4, 12, 5]
    assert seen(layout, 80) == [1, 2, 3, 10, 11, 4, 12, 5, 80]
    assert seen(layout, 81) == layout.tokens[: layout.tokens.index(81) + 1]
    assert seen(layout, 7) == layout.tokens


def test_positions_behind_a_promise_skip_its_length() -> None:
    layout = lay_out(PARTS)
    by_token = dict(zip(layout.tokens[::-1], layout.positions[::-1], strict=True))
    assert [by_token[token] for token in (1, 2, 3, 10, 11)] == [0, 1, 2, 3, 4]
    assert [by_token[token] for token in (90, 20, 21)] == [5, 6, 7]
    assert [by_token[token] for token in (4, 12, 30)] == [15, 16, 18]
    assert [by_token[token] for token in (5, 80, 81, 6, 7)] == [37, 38, 39, 40, 41]


def predictions(layout: Layout) -> list[tuple[int, int]]:
    return [
        (token, layout.tokens[target])
        for token, target in zip(layout.tokens, layout.targets, strict=True)
        if target is not None
    ]


def test_a_promise_predicts_the_main_thread_and_async_its_chunk() -> None:
    found = predictions(lay_out(PARTS))
    main = [1, 2, 3, 10, 11, 4, 12, 5, 80, 81, 6, 7]
    expected = [*pairwise(main), (90, 20), (20, 21), (21, 91), (90, 30), (30, 91)]
    assert sorted(found) == sorted(expected)


def test_the_causal_form_repeats_chunks_behind_the_sync() -> None:
    layout = lay_out(PARTS, "causal")
    main = [1, 2, 3, 10, 11, 4, 12, 5, 80, 81, 90, 20, 21, 91, 90, 30, 91, 6, 7]
    assert seen(layout, 7) == main
    assert seen(layout, 30) == [1, 2, 3, 10, 11, 4, 12, 90, 30]
    found = predictions(layout)
    assert (91, 6) in found
    assert (81, 90) not in found
    assert found.count((90, 20)) == found.count((90, 30)) == 1, "a repeated chunk is learnt once"


@pytest.mark.parametrize("form", ["shared", "causal"])
def test_it_tells_which_tokens_the_main_thread_says_and_what_chunks_begin_with(form: Form) -> None:
    layout = lay_out(PARTS, form)
    said = [token for token, main in zip(layout.tokens, layout.weighted, strict=True) if main]
    assert sorted(said) == [1, 2, 3, 4, 5, 6, 7, 10, 11, 12, 20, 30, 80, 81]


@st.composite
def some_parts(draw: st.DrawFn) -> list[Said | Promised | Waited]:
    """Parts in which every token differs."""
    numbers = iter(range(10_000))
    lengths = st.integers(0, 3)

    def tokens(least: int = 0) -> list[int]:
        return [next(numbers) for _ in range(least + draw(lengths))]

    parts: list[Said | Promised | Waited] = [Said(tokens(1))]
    for kind in draw(st.lists(st.sampled_from("spw"), max_size=8)):
        if kind == "s":
            parts.append(Said(tokens()))
        elif kind == "p":
            parts.append(Promised(tokens(1), tokens(2), 10 * draw(st.integers(1, 3))))
        else:
            parts.append(Waited(tokens(1)))
    return parts


@given(some_parts())
def test_the_causal_form_is_plain_causal_sequences(parts: list[Said | Promised | Waited]) -> None:
    """Each thread's context is a plain prompt: its positions are 0, 1, 2, ..., and it sees all of it."""
    layout = lay_out(parts, "causal")
    for index, ranges in enumerate(layout.seen):
        sees = [other for indices in ranges for other in indices]
        assert sees == sorted(set(sees))
        assert sees[-1] == index
        assert [layout.positions[other] for other in sees] == list(range(len(sees)))


@given(some_parts())
def test_the_shared_form_holds_every_token_once(parts: list[Said | Promised | Waited]) -> None:
    layout = lay_out(parts)
    assert len(set(layout.tokens)) == len(layout.tokens)
    mask = layout.mask()
    chunks = [set(part.chunk) for part in parts if isinstance(part, Promised)]
    for row, sees in enumerate(mask):
        assert sees[row]
        assert not any(sees[row + 1 :])
        for chunk in chunks:
            seen_of_it = chunk & {
                token for token, is_seen in zip(layout.tokens, sees, strict=True) if is_seen
            }
            whole = layout.tokens[row] not in chunk
            assert not (seen_of_it and whole) or seen_of_it == chunk, "a chunk is seen whole or not at all"
    for predicted in (target for target in layout.targets if target is not None):
        assert layout.targets.count(predicted) == 1


@pytest.mark.parametrize("form", ["shared", "causal"])
def test_a_document_is_tokenised_tag_by_tag(form: Form) -> None:
    text = 'A <promise topic="b" tokens="10"/><async>B</async><sync/>C'
    pieces = ["A ", '<promise topic="b" tokens="10"/>', "<async>", "B", "</async>", "<sync/>", "C"]
    parts = tokenized(Document.parse(text), lambda piece: [pieces.index(piece)])
    expected = [0, 1, 2, 3, 4, 5, 6] if form == "shared" else [0, 1, 2, 3, 4, 5, 2, 3, 4, 6]
    assert lay_out(parts, form).tokens == expected
