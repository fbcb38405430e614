"""Strategies: how a prompt becomes a graph."""
