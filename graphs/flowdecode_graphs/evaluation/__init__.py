"""Does it answer sooner, and no worse? `flowdecode bench` measures it; `docs/evaluation.md` says how.

items -> runner (variants) -> answers -> measures, judge -> summary -> report
"""

__all__: list[str] = []
