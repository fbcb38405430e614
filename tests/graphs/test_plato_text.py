from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from flowdecode.backend import Delta
from flowdecode.context import Block
from flowdecode_graphs.plato.text import PlanText


def test_a_cut_between_tokens_keeps_their_ids() -> None:
    text = PlanText()
    for delta in [Delta("1. Tea", (7, 8)), Delta("\n", (9,)), Delta("2.", (10,))]:
        text.add(delta)
    assert text.cut(7) == [Block("assistant", "1. Tea\n", (7, 8, 9))]


def test_a_cut_through_a_token_keeps_the_whole_ones_before_it() -> None:
    text = PlanText()
    for delta in [Delta("1. Tea", (7, 8)), Delta("\n2", (9,)), Delta(".", (10,))]:
        text.add(delta)
    assert text.cut(7) == [Block("assistant", "1. Tea", (7, 8)), Block("assistant", "\n")]
    assert [block.text for block in text.cut(2)] == ["2."]


@given(st.lists(st.text(max_size=5), min_size=1), st.data())
def test_the_cuts_together_are_the_text(pieces: list[str], data: st.DataObject) -> None:
    text, whole = PlanText(), "".join(pieces)
    for number, piece in enumerate(pieces):
        text.add(Delta(piece, (number,)))
    cut = ""
    while len(cut) < len(whole):
        length = data.draw(st.integers(1, len(whole) - len(cut)))
        blocks = text.cut(length)
        assert sum(len(block.text) for block in blocks) == length
        cut += "".join(block.text for block in blocks)
    assert cut == whole
