"""Stand-ins for the GPU wheels that SGLang imports and that nothing calls where there is no GPU.

A `.pth` file of the server's environment imports this module, in every process. A package that is
installed after all is left alone.
"""

from __future__ import annotations

import importlib.abc
import importlib.machinery
import sys
import types
from typing import Any

PACKAGES = ("torchaudio", "torchvision", "triton")


def _same(decorated: Any) -> Any:
    return decorated


def _cdiv(a: int, b: int) -> int:
    return -(-a // b)


def _next_power_of_2(n: int) -> int:
    return 1 << (n - 1).bit_length() if n > 0 else 1


_FUNCTIONS = {"cdiv": _cdiv, "next_power_of_2": _next_power_of_2}
"""Called when SGLang is imported, for sizes."""


class _Names(type):
    """The type of stand-in classes: any attribute of one (an enumeration's member, say) is there."""

    def __getattr__(cls, name: str) -> str:
        if name.startswith("__"):
            raise AttributeError(name)
        return f"<{cls.__name__}.{name}>"


class _Base:
    """What stand-in classes inherit from: takes any arguments, can be derived from."""

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        self.__dict__.update(kwargs, args=args)

    def __init_subclass__(cls, **kwargs: Any) -> None:
        pass


class _Absent(types.ModuleType):
    """A module that has whatever it is asked for. Called, it is a decorator that changes nothing."""

    def __init__(self, name: str) -> None:
        super().__init__(name)
        self.__path__ = []
        self.__version__ = "0.0.0"

    def __getattr__(self, name: str) -> Any:
        if name.startswith("__"):
            raise AttributeError(name)
        path = f"{self.__name__}.{name}"
        if name in _FUNCTIONS:
            value: Any = _FUNCTIONS[name]
        elif name[:1].isupper():
            value = _Names(name, (_Base,), {"__module__": self.__name__})
        else:
            value = sys.modules.setdefault(path, _Absent(path))
        setattr(self, name, value)
        return value

    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        bare = len(args) == 1 and callable(args[0]) and not kwargs
        return args[0] if bare else _same

    def __bool__(self) -> bool:
        return False

    def __iter__(self) -> Any:
        return iter(())


class _Finder(importlib.abc.MetaPathFinder, importlib.abc.Loader):
    """Finds the absent packages and all their modules."""

    def find_spec(self, name: str, path: Any, target: Any = None) -> importlib.machinery.ModuleSpec | None:
        if name.partition(".")[0] not in PACKAGES:
            return None
        return importlib.machinery.ModuleSpec(name, self, is_package=True)

    def create_module(self, spec: importlib.machinery.ModuleSpec) -> types.ModuleType:
        return sys.modules.get(spec.name) or _Absent(spec.name)

    def exec_module(self, module: types.ModuleType) -> None:
        pass


sys.meta_path.append(_Finder())  # last: what is installed is found before
