"""A model whose parts were exchanged says what it said before."""

from __future__ import annotations

from typing import Any

import pytest

from tests.backends.local.models import FAMILIES, make_model

torch: Any = pytest.importorskip("torch")
faster: Any = pytest.importorskip("flowdecode_backends.local.faster")


@pytest.mark.parametrize("family", FAMILIES)
def test_exchanged_parts_compute_the_same(family: str) -> None:
    model, same = make_model(family), make_model(family)
    for norm in (module for module in same.modules() if type(module).__name__.endswith("RMSNorm")):
        torch.nn.init.uniform_(norm.weight, -0.5, 0.5)
    model.load_state_dict(same.state_dict())
    faster.make_faster(model)
    kinds = {type(module).__name__ for module in model.modules()}
    assert not any(kind.endswith("RMSNorm") for kind in kinds)
    assert ("Linear" in kinds) is not torch.backends.mkldnn.is_available()
    with torch.inference_mode():
        for rows in (1, 7, 40):
            ids = torch.arange(rows)[None] + 8
            difference = model(input_ids=ids).logits - same(input_ids=ids).logits
            assert float(difference.abs().max()) < 1e-4
