"""Parts of a model exchanged for faster ones that compute the same, on a CPU.

torch multiplies float32 matrices with MKL, which serves AMD's processors badly; oneDNN, which comes with
torch too, takes a third to a half of the time there on few rows, if the weights are laid out for it once
(docs/benchmarks.md). That is what `torch.compile` does when it freezes weights. Linear layers that read
the same input become one, and a norm of six calls becomes one call.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, cast

import torch
from torch.nn.functional import rms_norm

__all__ = ["PackedLinear", "make_faster"]

_ROWS = 32
"""Tokens of a step that the layout is chosen for; any other number works too."""

_TOGETHER = (("q_proj", "k_proj", "v_proj"), ("gate_proj", "up_proj"))
"""Linear layers of one module that read the same input, as transformers' models name them."""

_onednn: Any = cast(Any, torch.ops).mkldnn


class _Packed:
    """One linear layer, or several that read the same input."""

    def __init__(self, layers: list[torch.nn.Linear]) -> None:
        weight = torch.cat([layer.weight.detach() for layer in layers])
        self.bias = torch.cat([layer.bias.detach() for layer in layers]) if _biased(layers[0]) else None
        self.weight: torch.Tensor = _onednn._reorder_linear_weight(weight, _ROWS)
        self._sizes = [layer.out_features for layer in layers]
        self._input: torch.Tensor | None = None
        self._outputs: tuple[torch.Tensor, ...] = ()

    def __call__(self, x: torch.Tensor, part: int) -> torch.Tensor:
        """The output of one of the layers; all are computed when the first is asked."""
        if self._input is not x:
            self._input = x
            output: torch.Tensor = _onednn._linear_pointwise(x, self.weight, self.bias, "none", [], "")
            self._outputs = torch.split(output, self._sizes, -1) if len(self._sizes) > 1 else (output,)
        return self._outputs[part]


class PackedLinear(torch.nn.Module):
    """What a `torch.nn.Linear` does."""

    def __init__(self, packed: _Packed, part: int) -> None:
        super().__init__()
        self._packed = packed
        self._number = part

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self._packed(x, self._number)


class _Norm(torch.nn.Module):
    """What a model's own RMSNorm does."""

    def __init__(self, weight: torch.Tensor, epsilon: float) -> None:
        super().__init__()
        self._weight = weight
        self._epsilon = epsilon

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return rms_norm(x, self._weight.shape, self._weight, self._epsilon)


@torch.inference_mode()
def make_faster(model: torch.nn.Module) -> None:
    """Exchange a model's parts in place, those that are known."""
    onednn: bool = cast(Any, torch.backends.mkldnn).is_available()
    for parent in list(model.modules()):
        if onednn:
            for names in _linears(parent):
                packed = _Packed([getattr(parent, name) for name in names])
                for part, name in enumerate(names):
                    setattr(parent, name, PackedLinear(packed, part))
        for name, child in list(parent.named_children()):
            norm = _norm(child) if type(child).__name__.endswith("RMSNorm") else None
            if norm is not None:
                setattr(parent, name, norm)


def _linears(parent: torch.nn.Module) -> Iterator[list[str]]:
    """The names of a module's linear layers, those together that are to be one."""
    names = [
        name
        for name, child in parent.named_children()
        if type(child) is torch.nn.Linear and child.weight.dtype in (torch.float32, torch.bfloat16)
    ]
    for together in _TOGETHER:
        layers = [getattr(parent, name) for name in together if name in names]
        if len(layers) == len(together) and len({(one.in_features, _biased(one)) for one in layers}) == 1:
            yield list(together)
            names = [name for name in names if name not in together]
    for name in names:
        yield [name]


def _biased(layer: torch.nn.Linear) -> bool:
    return cast(torch.Tensor | None, layer.bias) is not None


def _norm(module: torch.nn.Module) -> _Norm | None:
    """A faster norm, if one of the two usual readings of its weight gives the same result."""
    weight: Any = getattr(module, "weight", None)
    epsilon: Any = getattr(module, "variance_epsilon", getattr(module, "eps", None))
    if not isinstance(weight, torch.Tensor) or weight.dtype != torch.float32 or epsilon is None:
        return None
    x = torch.linspace(-2, 3, weight.numel())[None]
    for scale in (weight.detach(), 1 + weight.detach()):
        norm = _Norm(scale, float(epsilon))
        if torch.allclose(norm(x), module(x), rtol=1e-5, atol=1e-6):
            return norm
    return None
