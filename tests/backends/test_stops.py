"""Stop strings in text that comes in pieces."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from flowdecode_backends.stops import StopStrings

letters = st.text("ab", max_size=12)


def read(pieces: list[str], stop: list[str]) -> tuple[list[str], bool]:
    stops = StopStrings(stop)
    seen = [stops.feed(piece) for piece in pieces]
    return [*seen, stops.finish()], stops.stopped


def test_without_stop_strings_text_passes_at_once() -> None:
    assert read(["a", "", "b"], []) == (["a", "", "b", ""], False)


def test_what_may_be_a_beginning_waits() -> None:
    assert read(["one\n", "two", "\n\nx"], ["\n\n"]) == (["one", "\ntwo", "", ""], True)


def test_what_waited_comes_at_the_end() -> None:
    assert read(["one\n"], ["\n\n"]) == (["one", "\n"], False)


def test_nothing_comes_behind_a_stop_string() -> None:
    assert read(["one. two", " three"], ["."]) == (["one", "", ""], True)


@given(st.lists(letters, max_size=6), st.lists(letters.filter(bool), max_size=3))
def test_pieces_make_no_difference(pieces: list[str], stop: list[str]) -> None:
    """Of stop strings that are completed at different places, the first one complete counts."""
    text = "".join(pieces)
    seen, stopped = read(list(text), stop)
    ends = [at + len(each) for each in stop if (at := text.find(each)) >= 0]
    assert stopped == bool(ends)
    if not ends:
        assert "".join(seen) == text
        return
    complete = min(ends)
    starts = [at for each in stop if (at := text[:complete].find(each)) >= 0]
    assert "".join(seen) == text[: min(starts)]


@given(st.lists(letters, max_size=6), letters.filter(bool))
def test_one_stop_string_ends_the_text_where_it_begins(pieces: list[str], stop: str) -> None:
    seen, stopped = read(pieces, [stop])
    before, found, _ = "".join(pieces).partition(stop)
    assert ("".join(seen), stopped) == (before, bool(found))
