"""The regression finds the coefficients that the verdicts were drawn with."""

from __future__ import annotations

import numpy as np
import pytest
from numpy.typing import NDArray

from flowdecode_graphs.evaluation.length_control import Preference, length_controlled

Array = NDArray[np.float64]


class Drawn:
    """Verdicts of known coefficients, and the win rates that follow from them."""

    def __init__(self, theta: float, phi: float, psi: float, gamma: Array, *, seed: int) -> None:
        chance = np.random.default_rng(seed)
        differences = chance.normal(150, 300, len(gamma))
        lengths = np.tanh(differences / differences.std(ddof=1))
        odds = theta + phi * lengths + psi * gamma
        wins = (chance.random(len(gamma)) < 1 / (1 + np.exp(-odds))).astype(np.float64)
        self.told = [
            Preference(str(place), float(win), float(difference))
            for place, (win, difference) in enumerate(zip(wins, differences, strict=True))
        ]
        self.win_rate = float(wins.mean())
        self.controlled = float((1 / (1 + np.exp(-theta - psi * gamma))).mean())


@pytest.mark.parametrize(("theta", "phi"), [(0.5, 1.0), (-1.0, 1.5), (0.8, -0.7), (0.0, 0.0)])
def test_one_variant(theta: float, phi: float) -> None:
    drawn = Drawn(theta, phi, 0.0, np.zeros(3_000), seed=1)
    fit = length_controlled({"plato": drawn.told})["plato"]
    assert fit.skill == pytest.approx(theta, abs=0.15)
    assert fit.length == pytest.approx(phi, abs=0.2)
    assert fit.difficulty == 0
    assert fit.win_rate == pytest.approx(drawn.controlled, abs=0.03)


def test_what_length_alone_wins_is_taken_away() -> None:
    """Equal answers, of which the judge likes the longer one, and the variant's are longer."""
    drawn = Drawn(0.0, 2.0, 0.0, np.zeros(3_000), seed=2)
    assert drawn.win_rate > 0.6
    fit = length_controlled({"plato": drawn.told})["plato"]
    assert fit.win_rate == pytest.approx(0.5, abs=0.03)


def test_difficulties_come_from_the_other_variants() -> None:
    gamma = np.random.default_rng(33).normal(0, 1.5, 600)
    drawn = {
        name: Drawn(theta, phi, 1.0, gamma, seed=seed)
        for seed, (name, theta, phi) in enumerate(
            [("plato", 0.5, 1.0), ("auto", -0.5, 0.5), ("skeleton", 0.0, -1.0), ("pasta", 1.0, 0.0)]
        )
    }
    fits = length_controlled({name: each.told for name, each in drawn.items()})
    for name, each in drawn.items():
        assert fits[name].win_rate == pytest.approx(each.controlled, abs=0.05), name
        assert fits[name].difficulty > 0.3, name
    assert fits["skeleton"].length < 0 < fits["plato"].length


def test_verdicts_that_are_all_alike() -> None:
    always = [Preference(str(place), 1.0, 10.0 * place) for place in range(40)]
    ties = [Preference(str(place), 0.5, 0.0) for place in range(40)]
    fits = length_controlled({"always": always, "ties": ties})
    assert fits["always"].win_rate > 0.9
    assert fits["ties"].win_rate == pytest.approx(0.5, abs=0.02)


def test_too_few_verdicts_give_no_fit() -> None:
    assert length_controlled({"plato": [Preference("1", 1.0, 5.0)] * 19}) == {}
