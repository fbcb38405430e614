"""Strategies: how a prompt becomes a graph."""

__all__: list[str] = []
