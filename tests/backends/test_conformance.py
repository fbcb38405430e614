"""The engines of the project that need no server pass the conformance kit."""

from __future__ import annotations

import re

import pytest

from flowdecode.backend import Backend, Request
from flowdecode_backends.conformance import BackendConformance
from flowdecode_backends.scripted import Scripted
from flowdecode_backends.simulated import Simulated

TEXT = "Tea is an infusion of leaves, and an old one: it came to Europe by sea, to others by land; 東京 too."


def reply(request: Request) -> str:
    if request.grammar is None:
        return f"{TEXT} {request.context.block.text[-20:]} " * 20
    yes = re.fullmatch(request.grammar.regex, "yes\n")
    return "yes\n" if yes else request.grammar.regex


class TestScripted(BackendConformance):
    draws = False

    @pytest.fixture
    def backend(self) -> Backend:
        return Scripted(reply, context_length=2000)


class TestSimulated(BackendConformance):
    draws = False

    @pytest.fixture
    def backend(self) -> Backend:
        return Simulated(replies=reply, context_length=2000)
