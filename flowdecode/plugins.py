"""Strategies, backends and commands by name: the entry points, loaded when they are asked for."""

from __future__ import annotations

import logging
import os
from collections.abc import Mapping
from functools import cache
from importlib.metadata import EntryPoint, entry_points
from typing import Any, Literal, Protocol, cast
from urllib.parse import parse_qsl, urlsplit

import msgspec

from flowdecode.backend import Backend, Grammar
from flowdecode.errors import ConfigurationError
from flowdecode.strategy import Strategy

__all__ = [
    "BackendFactory",
    "BackendURL",
    "default_backend_url",
    "load_grammars",
    "load_plugin",
    "names",
    "open_backend",
    "open_strategy",
]

_SECRET_HEADERS = {"authorization", "api-key", "x-api-key"}

_log = logging.getLogger("flowdecode")

Group = Literal["backends", "commands", "grammars", "strategies"]


class BackendURL(msgspec.Struct, frozen=True):
    """A backend's URL in parts: `scheme:location?query`, or `scheme://location?query`."""

    scheme: str
    location: str
    query: dict[str, str]
    has_host: bool = False

    @property
    def host(self) -> str | None:
        """The host without its port; None where the URL names none."""
        return urlsplit(f"//{self.location}").hostname if self.has_host else None

    @property
    def port(self) -> int | None:
        """The port; None where the URL names none."""
        return urlsplit(f"//{self.location}").port if self.has_host else None

    @property
    def keeps_secrets(self) -> bool:
        """Whether what is sent there stays between the two ends."""
        return self.scheme.endswith("+https") or self.host in (None, "localhost", "127.0.0.1", "::1")

    @classmethod
    def parse(cls, url: str) -> BackendURL:
        """Raises ConfigurationError for anything that is no URL, and for a key in it."""
        scheme, colon, rest = url.partition(":")
        if not colon or not scheme:
            raise ConfigurationError(
                f"Expected a backend URL such as 'simulated:', got {url!r}. "
                f"Schemes: {', '.join(names('backends'))}."
            )
        location, _, query = rest.removeprefix("//").partition("?")
        has_host = rest.startswith("//")
        if has_host and "@" in location.partition("/")[0]:
            raise ConfigurationError("Expected a backend URL without credentials. Pass `api_key=` instead.")
        try:
            _ = has_host and urlsplit(f"//{location}").port
        except ValueError as error:
            raise ConfigurationError(
                f"Expected a host and its port behind `//`, got {url!r}: {error}."
            ) from None
        return cls(scheme, location, dict(parse_qsl(query, keep_blank_values=True)), has_host)


@cache
def _entries(group: Group) -> Mapping[str, EntryPoint]:
    """By name; looking them up reads every installed package's metadata, so it is done once."""
    return {entry.name: entry for entry in entry_points(group=f"flowdecode.{group}")}


class BackendFactory(Protocol):
    """What an entry point of `flowdecode.backends` is: makes a backend, not yet connected."""

    def __call__(self, url: BackendURL, *, api_key: str | None, headers: Mapping[str, str]) -> Backend: ...


def names(group: Group) -> list[str]:
    """What is installed, in alphabetical order."""
    return sorted(_entries(group))


def load_plugin(group: Group, name: str) -> Any:
    """What the entry point stands for. Raises ConfigurationError, which lists what there is."""
    if entry := _entries(group).get(name):
        return entry.load()
    raise ConfigurationError(f"Expected one of {', '.join(names(group))}, got {name!r} - at {group}.")


def load_grammars() -> dict[str, Grammar]:
    """The constant grammars that strategies send: engines may compile them before they are needed."""
    return {name: cast(Grammar, entry.load()) for name, entry in sorted(_entries("grammars").items())}


def default_backend_url() -> str:
    """The variable FLOWDECODE_BACKEND, else the bundled demo model, which is said once in the log.

    Raises ConfigurationError where there is neither.
    """
    return os.environ.get("FLOWDECODE_BACKEND") or _demo_model()


@cache
def _demo_model() -> str:
    if "local" not in names("backends"):
        raise ConfigurationError(
            "Expected a backend, got none, and there is no demo model to fall back on. "
            "Pass backend='simulated:', say, or set FLOWDECODE_BACKEND."
        )
    _log.warning("No backend was named, nor is FLOWDECODE_BACKEND set: using the demo model, 'local:'.")
    return "local:"


def open_backend(
    url: str, *, api_key: str | None = None, headers: Mapping[str, str] | None = None
) -> Backend:
    """The backend that a URL names, not yet connected. Raises ConfigurationError."""
    parsed = BackendURL.parse(url)
    secret = api_key is not None or not _SECRET_HEADERS.isdisjoint(map(str.lower, headers or {}))
    if secret and not parsed.keeps_secrets:
        raise ConfigurationError(
            f"Expected an encrypted connection for the API key, got {url!r}. Use a `+https` scheme."
        )
    factory = cast(BackendFactory, load_plugin("backends", parsed.scheme))
    return factory(parsed, api_key=api_key, headers=headers or {})


def open_strategy(strategy: str | Strategy) -> Strategy:
    """A strategy by name, with its default settings, or the given one. Raises ConfigurationError."""
    if isinstance(strategy, str):
        return cast(type[Strategy], load_plugin("strategies", strategy))()
    if not isinstance(cast(object, strategy), Strategy):
        raise ConfigurationError(
            f"Expected a strategy's name, or a Strategy such as Auto(), got {strategy!r}."
        )
    return strategy
