"""Training of models that write PASTA-LANG: data, the supervised stage, and the one by preferences.

`docs/pasta.md` goes through it. Only `collate`, `models` and what stands on them need the extra `train`.
"""

from __future__ import annotations

__all__: list[str] = []
