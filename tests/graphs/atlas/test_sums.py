from __future__ import annotations

import pytest

from flowdecode_graphs.atlas.sums import Equation, equations, results, without_equations


@pytest.mark.parametrize(
    ("text", "equation"),
    [
        ("5 + 10 = 15", Equation(15, 15)),
        ("3 x 40 = 130.", Equation(120, 130)),
        ("3 × 40=120", Equation(120, 120)),
        ("3 nights at 40 are 120", Equation(120, 120)),
        ("900 plus 500 makes 1,400", Equation(1400, 1400)),
        ("2 * 30 + 5 + 10 equals 75", Equation(75, 75)),
    ],
)
def test_equations_in_every_form(text: str, equation: Equation) -> None:
    assert equations(text) == [equation]
    assert not any(map(str.isdigit, without_equations(text)))


def test_totals_may_be_stated() -> None:
    assert results("Tickets: 5 + 10 = 15. In total you pay 135.") == {15, 135}


@pytest.mark.parametrize(
    "text", ["", "5, 10 and 15", "founded in 1210", "room 5 + view", f"1 + 1 = {2:05000}"]
)
def test_no_equation(text: str) -> None:
    assert equations(text) == []
