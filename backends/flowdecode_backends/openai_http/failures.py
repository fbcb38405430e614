"""Refusals of an HTTP engine as our own errors. No key is shown, whatever the engine quotes."""

from __future__ import annotations

import math
import re
import time
from collections.abc import Mapping
from email.utils import parsedate_to_datetime
from typing import Any, cast

from flowdecode.errors import BackendError, BackendUnavailable, ContextTooLong, RateLimited, RequestRejected

__all__ = ["field", "message_of", "refusal", "retry_after"]

_LONGEST_MESSAGE = 600
_TRANSIENT = (408, 409, 425)
"""Timed out, in conflict, too early: the same request may succeed."""
_NO_QUOTA = ("insufficient_quota", "billing_hard_limit_reached")
_CONTEXT_LIMIT = re.compile(r"context (?:length|size|window)\D{0,16}(\d[\d,]*)", re.IGNORECASE)
_NUMBER = re.compile(r"\d[\d,]*")


def refusal(status: int | None, body: object, headers: Mapping[str, str] | None = None) -> BackendError:
    """What an engine's refusal is: by its status, and by what it says.

    `body` is the error as JSON gave it, or its text. Without a status, as in the middle of a
    stream, what is not known to be final may be tried again.
    """
    said = message_of(body)
    code = field(body, "code") or field(body, "type")
    limit = _CONTEXT_LIMIT.search(said)
    if limit is not None and status in (None, 400, 413, 422):
        return _too_long(said, _integer(limit[1]))
    wait = retry_after(headers or {})
    where = "in the stream" if status is None else f"HTTP {status}"
    if status == 429 and code in _NO_QUOTA:
        return RequestRejected(f"Expected an answer, got {where}: {said} Its quota is used up.")
    if status == 429:
        return RateLimited(f"Expected an answer, got {where}, too many requests: {said}", retry_after=wait)
    if status is None or status >= 500 or status in _TRANSIENT:
        error = BackendUnavailable(f"Expected an answer, got {where}: {said}")
        error.retry_after = wait
        return error
    return RequestRejected(f"Expected an answer, got {where}: {said}{_advice(status, headers or {})}")


def message_of(body: object) -> str:
    """What an error says, in the forms that engines give it; at most so many characters."""
    said = field(body, "message") or field(body, "detail") or body
    if isinstance(said, dict | list):
        said = str(cast(object, said))
    text = " ".join(str(said).split()) if said else "nothing more."
    return text if len(text) <= _LONGEST_MESSAGE else f"{text[:_LONGEST_MESSAGE]}…"


def retry_after(headers: Mapping[str, str]) -> float | None:
    """Seconds that the engine asks us to wait, from `retry-after-ms` or `retry-after`."""
    for name, unit in (("retry-after-ms", 1000.0), ("retry-after", 1.0)):
        value = headers.get(name)
        if value is None:
            continue
        try:
            seconds = float(value) / unit
        except ValueError:
            try:
                seconds = parsedate_to_datetime(value).timestamp() - time.time()
            except ValueError:
                continue
        if math.isfinite(seconds):
            return max(0.0, seconds)
    return None


def _too_long(said: str, limit: int) -> ContextTooLong:
    """The largest number in the message is what was asked for; some engines give only its parts."""
    tokens = max([limit + 1, *map(_integer, _NUMBER.findall(said))])
    return ContextTooLong(
        tokens=tokens, limit=limit, what="the prompt and its answer, by what the engine said"
    )


def _integer(digits: str) -> int:
    return int(digits.replace(",", ""))


def field(body: object, name: str) -> Any:
    """A field of a JSON object; None where it is not there, or there is no object."""
    return cast(dict[str, Any], body).get(name) if isinstance(body, dict) else None


def _advice(status: int, headers: Mapping[str, str]) -> str:
    if status in (401, 403):
        return " Pass the right `api_key`, or `api_key_env=VARIABLE` in the URL."
    if status == 404:
        return " Look at the path in the URL (often `/v1`), and at the model's name."
    if 300 <= status < 400:
        return (
            f" It points to {headers.get('location', 'another place')}: name that in the URL if you trust it."
        )
    return ""
