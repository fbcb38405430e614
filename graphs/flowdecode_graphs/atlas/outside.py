"""Prompts that are not about the Atlas, and what a small model says to them."""

from __future__ import annotations

from flowdecode_graphs.atlas.dice import Dice
from flowdecode_graphs.atlas.names import made_up_stranger
from flowdecode_graphs.atlas.world import ATLAS

__all__ = ["REFUSAL", "outside"]
