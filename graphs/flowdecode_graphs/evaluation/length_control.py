"""The length-controlled win rate of AlpacaEval 2 (arXiv 2404.04475): a logistic regression.

The log-odds that a variant's answer is preferred are

    theta + phi * tanh(d / std(d)) + psi * gamma

where `d` is how much longer its answer is, `gamma` how hard the prompt is, and theta, phi and psi are the
variant's own. The win rate is what the model predicts for answers of the same length, the mean over prompts.

As in the paper, the difficulties come from a joint fit with psi = 1; but of the other variants only: the
paper has a hundred models, while among a few a variant's own outcome would come back to it as its
difficulty. Without another variant, psi is 0. Left out is what AlpacaEval adds against models that play to
the judge: examples from its own leaderboard. The strength of the regularisation (L2) is chosen by
cross-validation over prompts.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from importlib import import_module
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

# Neither has types of its own.
sparse: Any = import_module("scipy.sparse")
linear_model: Any = import_module("sklearn.linear_model")

__all__ = ["Fit", "Preference", "length_controlled"]

STRENGTHS = (0.1, 1.0, 10.0, 100.0, 1000.0)
"""Of which cross-validation chooses scikit-learn's `C`: the higher, the freer."""
FOLDS = 5
FEWEST = 20
"""Preferences below which a fit would say nothing."""

Array = NDArray[np.float64]


class Preference(NamedTuple):
    """One verdict: `value` is 1 where the variant's answer is preferred, 0 where the other is."""

    prompt: str
    value: float
    length_difference: float


class Fit(NamedTuple):
    """A variant's coefficients, and what follows from them."""

    win_rate: float
    skill: float
    """theta"""
    length: float
    """phi"""
    difficulty: float
    """psi"""


def length_controlled(variants: Mapping[str, Sequence[Preference]]) -> dict[str, Fit]:
    """A fit for each variant of which there are enough preferences, and not all the same one."""
    enough = {name: told for name, told in variants.items() if len(told) >= FEWEST}
    return {
        name: _fit(told, _difficulties([each for other, each in enough.items() if other != name]))
        for name, told in enough.items()
    }


def _fit(told: Sequence[Preference], gamma: Mapping[str, float]) -> Fit:
    difficulty = np.array([gamma.get(each.prompt, 0.0) for each in told])
    features = np.column_stack([np.ones(len(told)), _lengths(told), difficulty])
    theta, phi, psi = _regress(features, _values(told), _folds(told))
    at_same_length = 1 / (1 + np.exp(-(theta + psi * difficulty)))
    return Fit(float(at_same_length.mean()), float(theta), float(phi), float(psi))


def _difficulties(variants: Sequence[Sequence[Preference]]) -> dict[str, float]:
    """The gamma of every prompt that these variants answered."""
    if not variants:
        return {}
    everything = [each for told in variants for each in told]
    prompts = list(dict.fromkeys(each.prompt for each in everything))
    places = {prompt: place for place, prompt in enumerate(prompts)}
    owners = np.repeat(np.arange(len(variants)), [len(told) for told in variants])
    rows, count = np.arange(len(everything)), len(variants)
    columns = [owners, count + owners, np.array([2 * count + places[each.prompt] for each in everything])]
    entries = [np.ones(len(rows)), np.concatenate([_lengths(told) for told in variants]), np.ones(len(rows))]
    features = sparse.csr_array(
        (np.concatenate(entries), (np.tile(rows, 3), np.concatenate(columns))),
        shape=(len(rows), 2 * count + len(prompts)),
    )
    # A coefficient for every prompt: this fit is regularised as it comes.
    weights = _logistic(features, _values(everything), strength=1.0)
    return dict(zip(prompts, weights[2 * count :].tolist(), strict=True))


def _regress(features: Array, values: Array, folds: Array) -> Array:
    """Weights of a regression whose regularisation is chosen on prompts that it was not fitted to."""
    if len(np.unique(folds)) < FOLDS:
        return _logistic(features, values, strength=1.0)
    losses = [
        sum(_loss(features, values, folds == fold, strength) for fold in range(FOLDS))
        for strength in STRENGTHS
    ]
    return _logistic(features, values, strength=STRENGTHS[int(np.argmin(losses))])


def _loss(features: Array, values: Array, held_out: NDArray[np.bool_], strength: float) -> float:
    weights = _logistic(features[~held_out], values[~held_out], strength)
    odds = features[held_out] @ weights
    return float(np.sum(np.logaddexp(0, odds) - values[held_out] * odds))


def _logistic(features: Any, values: Array, strength: float) -> Array:
    """Weights of a logistic regression on values from 0 to 1: each counts for both outcomes, in parts."""
    model = linear_model.LogisticRegression(C=strength, fit_intercept=False, max_iter=1000)
    twice = (sparse.vstack if sparse.issparse(features) else np.vstack)([features, features])
    model.fit(twice, np.repeat([1, 0], len(values)), sample_weight=np.concatenate([values, 1 - values]))
    return np.asarray(model.coef_[0], dtype=np.float64)


def _values(told: Sequence[Preference]) -> Array:
    return np.array([each.value for each in told], dtype=np.float64)


def _lengths(told: Sequence[Preference]) -> Array:
    """The tanh of the length differences in units of their standard deviation; 0 where all are equal."""
    differences = np.array([each.length_difference for each in told], dtype=np.float64)
    spread = differences.std(ddof=1) if len(told) > 1 else 0.0
    return np.tanh(differences / spread) if spread else np.zeros(len(told))


def _folds(told: Sequence[Preference]) -> Array:
    """Prompts in turn; all preferences on one prompt are in one fold."""
    places: dict[str, int] = {}
    for each in told:
        places.setdefault(each.prompt, len(places))
    return np.array([places[each.prompt] % FOLDS for each in told], dtype=np.float64)
