from __future__ import annotations

import pytest

from flowdecode.errors import ConfigurationError
from flowdecode_graphs.auto import Auto
from flowdecode_graphs.evaluation.variants import ABLATIONS, GROUPS, open_variants
from flowdecode_graphs.plato import Plato


def test_the_baseline_comes_first_and_each_variant_once() -> None:
    assert [each.name for each in open_variants(["plato", "sequential", "plato"])] == ["sequential", "plato"]


def test_a_group_brings_what_it_is_compared_with() -> None:
    variants = open_variants(["width", "hedge"])
    assert [each.name for each in variants] == [
        "sequential", "plato", "plato-width-1", "plato-width-2", "plato-width-4", "plato-width-8",
        "auto", "auto-no-hedge",
    ]  # fmt: skip
    assert [each.width for each in variants[2:6]] == [1, 2, 4, 8]
    assert variants[-1].strategy == Auto(hedge=False)


def test_every_ablation_differs_from_what_it_ablates() -> None:
    for name, ablation in ABLATIONS.items():
        full, without = open_variants([name])[1:]
        assert full.name == ablation.of
        assert (full.strategy, full.width, full.query) != (without.strategy, without.width, without.query)


def test_groups_hold_all_ablations() -> None:
    assert {name for group in GROUPS.values() for name in group} == set(ABLATIONS)
    assert Plato(pipelined=False) == ABLATIONS["plato-no-pipelining"].strategy


def test_an_unknown_name_lists_the_known_ones() -> None:
    expected = r"auto, .*plato, .*width.*got 'plato-fast' - at --strategies"
    with pytest.raises(ConfigurationError, match=expected):
        open_variants(["plato-fast"])
