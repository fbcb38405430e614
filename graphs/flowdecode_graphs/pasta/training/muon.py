"""Muon for the matrices of a model's layers, AdamW for the rest, as one optimizer."""

from __future__ import annotations

from typing import Any

import torch

from flowdecode.errors import ConfigurationError

__all__ = ["MuonWithAdamW"]

ADAMW_SHARE = 0.15
"""AdamW's rate, over Muon's."""

_muon: Any = torch.optim.Muon  # torch leaves it untyped


class MuonWithAdamW(torch.optim.Optimizer):
    """Learns in fewer steps than AdamW alone (https://kellerjordan.github.io/posts/muon/)."""

    def __init__(self, model: torch.nn.Module, rate: float) -> None:
        """`rate` is Muon's. Raises ConfigurationError where one of the two has nothing to train."""
        trained = [(name, each) for name, each in model.named_parameters() if each.requires_grad]
        matrices = [each for name, each in trained if ".layers." in name and each.ndim == 2]
        others = [each for name, each in trained if ".layers." not in name or each.ndim != 2]
        if not matrices or not others:
            raise ConfigurationError(
                "Expected matrices in layers and other weights to train, got only one of them - at "
                "--optimizer muon. Use adamw."
            )
        own = rate, ADAMW_SHARE * rate
        super().__init__([{"params": matrices, "lr": own[0]}, {"params": others, "lr": own[1]}], {})
        self._both: list[torch.optim.Optimizer] = [
            _muon(matrices, lr=own[0], weight_decay=0.0),
            torch.optim.AdamW(others, lr=own[1], betas=(0.9, 0.95), weight_decay=0.0),
        ]

    def step(self, closure: Any = None) -> None:  # type: ignore[override]
        """One step of both, at the rates that a schedule has set."""
        for group, each in zip(self.param_groups, self._both, strict=True):
            each.param_groups[0]["lr"] = group["lr"]
            each.step()

    def state_dict(self) -> dict[str, Any]:
        return {
            "both": [each.state_dict() for each in self._both],
            "rates": [group["lr"] for group in self.param_groups],
        }

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        for each, state in zip(self._both, state_dict["both"], strict=True):
            each.load_state_dict(state)
        for group, rate in zip(self.param_groups, state_dict["rates"], strict=True):
            group["lr"] = rate
