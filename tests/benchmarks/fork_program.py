"""The forced plan in SGLang's own frontend language, run in its environment: `fork_program.py URL JSON`.

Prints `Measured` as JSON, without the server's own count.
"""

from __future__ import annotations

import json
import sys
import time
from importlib import import_module
from typing import Any

sgl: Any = import_module("sglang")
endpoint: Any = import_module("sglang.lang.backend.runtime_endpoint")


def main(url: str, given: dict[str, Any]) -> None:
    sent = 0
    send = endpoint.http_request

    def counted(*args: Any, **kwargs: Any) -> Any:
        nonlocal sent
        sent += 1
        return send(*args, **kwargs)

    backend = endpoint.RuntimeEndpoint(url, chat_template_name="chatml")
    endpoint.http_request = counted
    usages: list[dict[str, Any]] = []

    def program(s: Any) -> None:
        s += sgl.system(given["rules"])
        s += sgl.user(given["question"])
        s += sgl.assistant(sgl.gen("plan", max_tokens=640, regex=given["plan_regex"], temperature=0))
        usages.append(s.get_meta_info("plan"))
        texts: dict[str, str] = {}
        for level in given["levels"]:
            forks = s.fork(len(level))
            for fork, number in zip(forks, level, strict=True):
                node = given["nodes"][str(number)]
                told = "".join(
                    given["parent"][str(parent)] + texts[str(parent)] + "\n\n" for parent in node[2]
                )
                fork += sgl.user(told + given["part"][str(number)])
                fork += sgl.assistant(sgl.gen("part", max_tokens=node[1], ignore_eos=True, temperature=0))
            for fork, number in zip(forks, level, strict=True):
                texts[str(number)] = fork["part"]
                usages.append(fork.get_meta_info("part"))

    start = time.perf_counter()
    sgl.function(program).run(backend=backend)
    seconds = time.perf_counter() - start
    prompt, cached = (sum(usage[key] for usage in usages) for key in ("prompt_tokens", "cached_tokens"))
    print(
        json.dumps({"seconds": seconds, "requests": sent, "prompt": prompt, "cached": cached, "prefilled": 0})
    )


if __name__ == "__main__":
    main(sys.argv[1], json.loads(sys.argv[2]))
