"""Engines: where tokens come from. Imports `flowdecode` alone; found through entry points."""

__all__: list[str] = []
