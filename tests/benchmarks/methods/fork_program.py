"""A forced plan in SGLang's own frontend language, run in its environment: `fork_program.py URL TEMPLATE`.

TEMPLATE is JSON: by role, what the chat template writes before and behind a message. Every line of the
standard input is a plan as JSON (see `fork.py`), and is answered by a line with what it took, as JSON.
"""

from __future__ import annotations

import json
import sys
import time
from importlib import import_module
from typing import Any

sgl: Any = import_module("sglang")
endpoint: Any = import_module("sglang.lang.backend.runtime_endpoint")
templates: Any = import_module("sglang.lang.chat_template")

PLAN = "the plan"
"""Stands for the plan's grammar, in a form that the frontend does not pass on."""


class Run:
    """One run of a plan, with what is measured of it."""

    def __init__(self, given: dict[str, Any]) -> None:
        self.given = given
        self.usages: list[dict[str, Any]] = []
        self.texts: dict[int, str] = {}
        self.first_part = 0.0

    def answer(self, s: Any) -> None:
        """The plan, then level by level a fork for each part, which are waited for in order."""
        given, parts = self.given, self.given["parts"]
        s += sgl.system(given["system"])
        s += sgl.user(given["question"])
        s += sgl.assistant(sgl.gen("plan", max_tokens=640, regex=PLAN, temperature=0))
        self.usages.append(s.get_meta_info("plan"))
        for level in given["levels"]:
            forks = s.fork(len(level))
            for fork, number in zip(forks, level, strict=True):
                part = parts[str(number)]
                told = "".join(text.replace("\0", self.texts[parent]) for parent, text in part["told"])
                fork += sgl.user(told + part["instruction"])
                fork += sgl.assistant(
                    sgl.gen("part", max_tokens=part["tokens"], ignore_eos=True, temperature=0)
                )
            for fork, number in zip(forks, level, strict=True):
                self.texts[number] = fork["part"]
                self.first_part = self.first_part or time.perf_counter()
                self.usages.append(fork.get_meta_info("part"))


def answer(s: Any, run: Run) -> None:
    """The program; its first argument has to have this name."""
    run.answer(s)


def main(url: str, template: dict[str, list[str]]) -> None:
    templates.register_chat_template(
        templates.ChatTemplate(name="served", default_system_prompt=None, role_prefix_and_suffix=template)
    )
    backend = endpoint.RuntimeEndpoint(url, chat_template_name="served")
    send, sent = endpoint.http_request, 0

    def counted(*args: Any, json: dict[str, Any], **kwargs: Any) -> Any:
        nonlocal sent
        sent += 1
        sampling = json["sampling_params"]
        if sampling.pop("regex", None) == PLAN:
            sampling["ebnf"] = run.given["plan"]
        return send(*args, json=json, **kwargs)

    endpoint.http_request = counted
    print("ready", flush=True)
    for line in sys.stdin:
        run, sent = Run(json.loads(line)), 0
        start = time.perf_counter()
        sgl.function(answer).run(run, backend=backend)
        seconds = time.perf_counter() - start
        prompt, cached, decoded = (
            sum(usage[key] for usage in run.usages)
            for key in ("prompt_tokens", "cached_tokens", "completion_tokens")
        )
        took = {"seconds": seconds, "requests": sent, "prompt": prompt, "cached": cached, "decoded": decoded}
        took["first_token"] = took["first_part"] = run.first_part - start
        print(json.dumps(took), flush=True)


if __name__ == "__main__":
    main(sys.argv[1], json.loads(sys.argv[2]))
