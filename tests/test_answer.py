"""The answer: slots, emitted in order."""

from __future__ import annotations

from collections.abc import Callable

from hypothesis import given
from hypothesis import strategies as st

from flowdecode.answer import Answer, Slot

Move = tuple[int, str | None]
"""A slot's number and what is written to it; None closes it. A slot is opened when it is first named."""

texts = st.text(st.characters(codec=None), max_size=3)
moves = st.lists(st.tuples(st.integers(0, 4), st.none() | texts), max_size=25)


class Model:
    """The same, computed from scratch every time."""

    def __init__(self) -> None:
        self.texts: list[str] = []
        self.headings: list[str] = []
        self.closed: list[bool] = []

    def write(self, number: int, text: str) -> None:
        if text and not self.closed[number]:
            self.texts[number] += self.headings[number] + text
            self.headings[number] = ""

    def emittable(self) -> str:
        text = ""
        for written, closed in zip(self.texts, self.closed, strict=True):
            text += written
            if not closed:
                break
        return text


def play(moves: list[Move], answer: Answer, after: Callable[[Model, list[Slot]], None]) -> Model:
    model, slots = Model(), list[Slot]()
    for number, text in moves:
        while len(slots) <= number:
            heading = "" if len(slots) % 3 == 0 else f"\n{len(slots)}. "
            slots.append(answer.open(heading))
            model.texts.append("")
            model.headings.append(heading)
            model.closed.append(False)
        if text is None:
            slots[number].close()
            model.closed[number] = True
        else:
            slots[number].write(text)
            model.write(number, text)
        after(model, slots)
    for number, slot in enumerate(slots):
        slot.close()
        model.closed[number] = True
        after(model, slots)
    return model


@given(moves)
def test_every_interleaving_gives_the_slots_in_order_each_character_as_early_as_possible(
    moves: list[Move],
) -> None:
    emitted: list[str] = []
    answer = Answer(emitted.append)

    def check(model: Model, _: list[Slot]) -> None:
        assert "".join(emitted) == model.emittable()

    model = play(moves, answer, check)
    assert "".join(emitted) == "".join(model.texts)
    assert "" not in emitted


@given(moves, st.integers(0, 30))
def test_holds_everything_until_it_is_released(moves: list[Move], release_at: int) -> None:
    emitted: list[str] = []
    answer = Answer(emitted.append, held=True)
    left = release_at

    def check(model: Model, _: list[Slot]) -> None:
        nonlocal left
        left -= 1
        if left == 0:
            answer.release()
        assert "".join(emitted) == (model.emittable() if left <= 0 else "")

    if left == 0:
        answer.release()
    play(moves, answer, check)


@given(moves, moves)
def test_nothing_follows_a_cut(before: list[Move], after: list[Move]) -> None:
    emitted: list[str] = []
    answer = Answer(emitted.append)
    slots: list[Slot] = []
    for number, text in before:
        while len(slots) <= number:
            slots.append(answer.open())
        slots[number].close() if text is None else slots[number].write(text)
    said = "".join(emitted)
    answer.cut()
    for number, text in after:
        if number < len(slots):
            slots[number].close() if text is None else slots[number].write(text)
    answer.literal("And on.")
    answer.release()
    assert "".join(emitted) == said


def test_a_slot_streams_while_it_is_first() -> None:
    emitted: list[str] = []
    answer = Answer(emitted.append)
    first, second = answer.open(), answer.open()
    second.write("b")
    first.write("a")
    assert emitted == ["a"]
    first.write("A")
    assert emitted == ["a", "A"]
    second.write("B")
    first.close()
    assert emitted == ["a", "A", "bB"]
    second.write("!")
    assert emitted == ["a", "A", "bB", "!"]


def test_a_literal_between_two_nodes_waits_for_the_first() -> None:
    emitted: list[str] = []
    answer = Answer(emitted.append)
    first = answer.open()
    answer.literal("\n\n## Next\n")
    second = answer.open()
    second.write("two")
    assert emitted == []
    first.write("one")
    first.close()
    assert emitted == ["one", "\n\n## Next\n", "two"]


def test_a_heading_stands_before_a_text_and_never_alone() -> None:
    emitted: list[str] = []
    answer = Answer(emitted.append)
    slots = [answer.open(heading=f"# {number}\n") for number in range(3)]
    slots[2].write("two")
    slots[0].write("")
    slots[0].write("zero ")
    slots[0].write("and more ")
    for slot in slots:
        slot.close()
    assert "".join(emitted) == "# 0\nzero and more # 2\ntwo"


def test_a_closed_slot_takes_no_text_and_closing_twice_is_harmless() -> None:
    emitted: list[str] = []
    answer = Answer(emitted.append)
    first, second = answer.open(), answer.open()
    first.close()
    first.close()
    first.write("late")
    second.write("x")
    assert emitted == ["x"]


def test_an_answer_without_slots_is_empty() -> None:
    emitted: list[str] = []
    answer = Answer(emitted.append, held=True)
    answer.release()
    answer.release()
    answer.cut()
    answer.cut()
    assert emitted == []


def test_a_thousand_slots_in_reverse_order() -> None:
    emitted: list[str] = []
    answer = Answer(emitted.append)
    slots = [answer.open() for _ in range(1_000)]
    for number in reversed(range(1_000)):
        slots[number].write(f"{number} ")
        slots[number].close()
    assert emitted == [f"{number} " for number in range(1_000)]
