"""Engines: where tokens come from. Imports `flowdecode` alone; found through entry points."""
