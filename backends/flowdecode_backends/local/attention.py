"""Attention over the pool, for unmodified model classes: each query sees what its thread sees."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, NamedTuple, cast

import numpy as np
import numpy.typing as npt
import torch
from torch.nn.functional import scaled_dot_product_attention

if TYPE_CHECKING:
    from flowdecode_backends.local.step import Step

__all__ = ["NAME", "Branches", "Chunk", "Lanes", "Mask", "Piece", "Rows", "pool_attention"]

NAME = "flowdecode_pool"
"""The name under which transformers knows `pool_attention`."""

Bools = npt.NDArray[np.bool_]
Ints = npt.NDArray[np.int64]


class Kind(NamedTuple):
    """How a layer attends."""

    window: int | None
    scaling: float
    softcap: float | None


class Mask:
    """What queries can't see of their slots, `[queries, slots]`; made once for all layers of a kind."""

    def __init__(self, hidden: Bools | None, distance: Ints, device: torch.device) -> None:
        """`distance`: how many positions a slot lies before the query; a window hides those that are far."""
        self._hidden = hidden if hidden is not None and hidden.any() else None
        self._distance = distance
        self._device = device
        self._made: dict[tuple[int | None, torch.dtype], torch.Tensor | None] = {}

    def hidden(self, window: int | None) -> Bools | None:
        """None: they see all."""
        if window is None or self._distance.max() < window:
            return self._hidden
        far: Bools = self._distance >= window
        return far if self._hidden is None else self._hidden | far

    def added(self, window: int | None, dtype: torch.dtype) -> torch.Tensor | None:
        """What is added to the scores: finite, as the sum over a stem that is all hidden must be a number."""
        key = (window, dtype)
        if key not in self._made:
            hidden = self.hidden(window)
            self._made[key] = None
            if hidden is not None:
                lowest = np.float32(torch.finfo(dtype).min / 2)
                mask = np.where(hidden, lowest, np.float32(0))
                self._made[key] = torch.as_tensor(mask, dtype=dtype, device=self._device)
        return self._made[key]


class Piece:
    """Some of a step's queries, and the part of the pool that they attend over."""

    queries: slice
    """Which they are; set when the step is closed."""

    def attend(
        self, query: torch.Tensor, keys: torch.Tensor, values: torch.Tensor, kind: Kind
    ) -> torch.Tensor:
        """Of `[heads, queries, dimension]`, over a layer's keys and values: `[queries, heads, dimension]`."""
        raise NotImplementedError


class Chunk(Piece):
    """Queries of one thread."""

    def __init__(
        self, slots: slice | torch.Tensor, hidden: Bools, distance: Ints, device: torch.device
    ) -> None:
        self.slots = slots
        self.mask = Mask(hidden, distance, device)

    def attend(
        self, query: torch.Tensor, keys: torch.Tensor, values: torch.Tensor, kind: Kind
    ) -> torch.Tensor:
        heads, count, _ = query.shape
        mask = self.mask.added(kind.window, query.dtype)
        asked = _fold(query, keys)
        if mask is not None:
            mask = mask.repeat(asked.shape[2] // count, 1)
        told = _attention(asked, _part(keys, self.slots), _part(values, self.slots), mask, kind)
        return told.reshape(heads, count, -1).transpose(0, 1)


class Lanes:
    """Ranges of slots at equal distances, one for each query, padded to one length."""

    def __init__(
        self, *, first: int, apart: int, length: int, hidden: Bools, distance: Ints, device: torch.device
    ) -> None:
        self.first = first
        self.apart = apart
        self.length = length
        self.count = len(distance)
        self.mask = Mask(hidden, distance, device)

    def part(self, stored: torch.Tensor) -> torch.Tensor:
        """Of a layer's keys or values, without copying: `[lanes, heads, length, dimension]`."""
        heads, slots, dimension = stored.shape
        return stored.as_strided(
            (self.count, heads, self.length, dimension),
            (self.apart * dimension, slots * dimension, dimension, 1),
            self.first * dimension,
        )


class Branches(Piece):
    """Queries that attend over a stem together, and beyond it over lanes of their own.

    The two softmaxes are put together by the sums of their weights, as in cascade inference.
    """

    def __init__(
        self,
        stem: slice | torch.Tensor | None,
        lanes: list[Lanes],
        distance: Ints | None,
        device: torch.device,
    ) -> None:
        """`distance`: from each query to each slot of the stem."""
        self.stem = stem
        self.lanes = lanes
        self.mask = None if distance is None else Mask(None, distance, device)

    def attend(
        self, query: torch.Tensor, keys: torch.Tensor, values: torch.Tensor, kind: Kind
    ) -> torch.Tensor:
        heads, count, _ = query.shape
        outputs: list[torch.Tensor] = []
        sums: list[torch.Tensor] = []
        asked, start = _apart(query, keys), 0
        for lanes in self.lanes:
            mask = _over_heads(lanes.mask.added(kind.window, query.dtype))
            mine = asked[start : start + lanes.count]
            if self.stem is None:
                outputs.append(_attention(mine, lanes.part(keys), lanes.part(values), mask, kind))
            else:
                told, weight = _with_sum(mine, lanes.part(keys), lanes.part(values), mask, kind)
                outputs.append(told)
                sums.append(weight)
            start += lanes.count
        output = _joined(outputs)
        if self.stem is not None and self.mask is not None:
            mask = self.mask.added(kind.window, query.dtype)
            asked = _fold(query, keys)
            groups = asked.shape[2] // count
            if mask is not None:
                mask = mask.repeat(groups, 1)
            told, weight = _with_sum(asked, _part(keys, self.stem), _part(values, self.stem), mask, kind)
            shape = (keys.shape[0], groups, count)
            share = torch.sigmoid(weight.view(shape).permute(2, 0, 1) - _joined(sums))[..., None]
            told = told.reshape(*shape, -1).permute(2, 0, 1, 3)
            output = torch.lerp(output, told, share.to(output.dtype))
        return output.reshape(count, heads, -1)


class Rows(Piece):
    """Queries that attend over slots of their own, anywhere, padded to one length: `[queries, slots]`."""

    def __init__(self, slots: torch.Tensor, hidden: Bools, distance: Ints, device: torch.device) -> None:
        self.slots = slots
        self.mask = Mask(hidden, distance, device)
        self._all = slots.reshape(-1)

    def attend(
        self, query: torch.Tensor, keys: torch.Tensor, values: torch.Tensor, kind: Kind
    ) -> torch.Tensor:
        heads, count, _ = query.shape
        mask = _over_heads(self.mask.added(kind.window, query.dtype))
        told = _attention(_apart(query, keys), self._part(keys), self._part(values), mask, kind)
        return told.reshape(count, heads, -1)

    def _part(self, stored: torch.Tensor) -> torch.Tensor:
        heads, _, dimension = stored.shape
        return stored.index_select(1, self._all).view(heads, *self.slots.shape, dimension).transpose(0, 1)


def pool_attention(
    module: torch.nn.Module,
    query: torch.Tensor,
    key: torch.Tensor,
    value: torch.Tensor,
    attention_mask: torch.Tensor | None,
    *,
    step: Step,
    scaling: float | None = None,
    sliding_window: int | None = None,
    softcap: float | None = None,
    **kwargs: Any,
) -> tuple[torch.Tensor, None]:
    """The attention of one layer: `query` is `[1, heads, tokens, dimension]`, and so on with fewer heads."""
    layer = int(module.layer_idx)  # type: ignore[arg-type]
    pool = step.pool
    pool.write(layer, step.slots, key[0], value[0])
    keys, values = pool.keys[layer], pool.values[layer]
    kind = Kind(sliding_window, query.shape[3] ** -0.5 if scaling is None else scaling, softcap)
    if len(step.pieces) == 1:
        return step.pieces[0].attend(query[0], keys, values, kind)[None], None
    output = query.new_empty(1, query.shape[2], query.shape[1], values.shape[2])
    for piece in step.pieces:
        output[0, piece.queries] = piece.attend(query[0, :, piece.queries], keys, values, kind)
    return output, None


def _fold(query: torch.Tensor, keys: torch.Tensor) -> torch.Tensor:
    """`[heads, queries, dimension]` with the heads that share keys one behind the other, as more queries."""
    return query.reshape(1, keys.shape[0], -1, query.shape[2])


def _apart(query: torch.Tensor, keys: torch.Tensor) -> torch.Tensor:
    """`[heads, queries, dimension]` with each query a batch, the heads that share keys its queries."""
    heads, count, dimension = query.shape
    return query.transpose(0, 1).reshape(count, keys.shape[0], heads // keys.shape[0], dimension)


def _part(stored: torch.Tensor, slots: slice | torch.Tensor) -> torch.Tensor:
    """Slots of a layer's keys or values, `[1, heads, slots, dimension]`: a view where they are a range."""
    if isinstance(slots, slice):
        return stored[None, :, slots]
    return stored.index_select(1, slots)[None]


def _over_heads(mask: torch.Tensor | None) -> torch.Tensor | None:
    return None if mask is None else mask[:, None, None]


def _joined(parts: list[torch.Tensor]) -> torch.Tensor:
    return parts[0] if len(parts) == 1 else torch.cat(parts)


def _attention(
    query: torch.Tensor, keys: torch.Tensor, values: torch.Tensor, mask: torch.Tensor | None, kind: Kind
) -> torch.Tensor:
    if kind.softcap is None:
        return scaled_dot_product_attention(query, keys, values, attn_mask=mask, scale=kind.scaling)
    return _scores(query, keys, mask, kind).softmax(-1) @ values


def _with_sum(
    query: torch.Tensor, keys: torch.Tensor, values: torch.Tensor, mask: torch.Tensor | None, kind: Kind
) -> tuple[torch.Tensor, torch.Tensor]:
    """Attention, and the logarithm of the sum of its weights, `[batch, heads, queries]`."""
    if kind.softcap is None and query.device.type == "cpu":
        flash: Any = torch.ops.aten._scaled_dot_product_flash_attention_for_cpu
        return cast(
            tuple[torch.Tensor, torch.Tensor],
            flash(query, keys, values, 0.0, False, attn_mask=mask, scale=kind.scaling),
        )
    scores = _scores(query, keys, mask, kind).float()
    return scores.softmax(-1).to(values.dtype) @ values, scores.logsumexp(-1)


def _scores(query: torch.Tensor, keys: torch.Tensor, mask: torch.Tensor | None, kind: Kind) -> torch.Tensor:
    scores = query @ keys.transpose(2, 3) * kind.scaling
    if kind.softcap is not None:
        scores = torch.tanh(scores / kind.softcap) * kind.softcap
    return scores if mask is None else scores + mask
