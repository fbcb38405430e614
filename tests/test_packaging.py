"""The layers' arrows, what an import may load, what is public, and the entry points."""

import ast
import importlib
import importlib.metadata
import json
import subprocess
import sys
import tomllib
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from flowdecode.backend import Grammar

ROOT = Path(__file__).parents[1]
LAYERS = {
    "flowdecode": ROOT / "flowdecode",
    "flowdecode_backends": ROOT / "backends" / "flowdecode_backends",
    "flowdecode_graphs": ROOT / "graphs" / "flowdecode_graphs",
}
MAY_IMPORT = {
    "flowdecode": {"flowdecode"},
    "flowdecode_backends": {"flowdecode", "flowdecode_backends"},
    "flowdecode_graphs": {"flowdecode", "flowdecode_graphs"},
}
LOADED_LATE = {
    "aiohttp",
    "flowdecode_backends",
    "flowdecode_graphs",
    "opentelemetry.sdk",
    "rich",
    "torch",
    "transformers",
    "typer",
}
EXTRA = {
    "accelerate",
    "datasets",
    "matplotlib",
    "numpy",
    "openai",
    "peft",
    "scipy",
    "sklearn",
    "torch",
    "transformers",
}
"""What only extras bring."""
MOST_PUBLIC_NAMES = 25


def modules_of(layer: str) -> Iterator[tuple[str, Path]]:
    for path in sorted(LAYERS[layer].rglob("*.py")):
        parts = path.relative_to(LAYERS[layer].parent).with_suffix("").parts
        yield ".".join(parts[:-1] if parts[-1] == "__init__" else parts), path


MODULES = {name: path for layer in LAYERS for name, path in modules_of(layer)}
PUBLIC_MODULES = [name for name in MODULES if not any(part.startswith("_") for part in name.split("."))]


def imported_modules(source: str) -> Iterator[str]:
    """Every absolute module name that the source imports, at any depth, also by `import_module`."""
    for node in ast.walk(ast.parse(source)):
        match node:
            case ast.Import(names=names):
                yield from (alias.name for alias in names)
            case ast.ImportFrom(module=str(module), level=0):
                yield module
            case ast.Call(
                func=ast.Name(id="import_module" | "__import__") | ast.Attribute(attr="import_module"),
                args=[ast.Constant(value=str(module)), *_],
            ):
                yield module
            case _:
                pass


def layers_imported(source: str) -> set[str]:
    return {module.partition(".")[0] for module in imported_modules(source)} & LAYERS.keys()


def declared_entry_points() -> list[importlib.metadata.EntryPoint]:
    project: dict[str, Any] = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    groups: dict[str, dict[str, str]] = {"console_scripts": project["scripts"], **project["entry-points"]}
    return [
        importlib.metadata.EntryPoint(name=name, value=value, group=group)
        for group, entries in groups.items()
        for name, value in entries.items()
    ]


@pytest.mark.parametrize(
    "source",
    [
        "import flowdecode_backends",
        "import json, flowdecode_backends.scripted as scripted",
        "from flowdecode_backends import scripted",
        "from flowdecode_backends.scripted import open_scripted",
        "def later():\n    from flowdecode_backends import scripted",
        "if TYPE_CHECKING:\n    import flowdecode_backends.scripted",
        "import_module('flowdecode_backends.scripted')",
        "importlib.import_module('flowdecode_backends')",
    ],
)
def test_import_scan_sees_every_form_of_import(source: str) -> None:
    assert layers_imported(source) == {"flowdecode_backends"}


@pytest.mark.parametrize("layer", LAYERS)
def test_layer_imports_only_what_its_arrows_allow(layer: str) -> None:
    modules = dict(modules_of(layer))
    assert layer in modules, f"{LAYERS[layer]} has no __init__.py"
    wrong = {
        name: sorted(forbidden)
        for name, path in modules.items()
        if (forbidden := layers_imported(path.read_text(encoding="utf-8")) - MAY_IMPORT[layer])
    }
    assert wrong == {}


@pytest.mark.parametrize("layer", LAYERS)
def test_layer_is_typed(layer: str) -> None:
    assert (LAYERS[layer] / "py.typed").is_file()


def test_import_of_flowdecode_loads_nothing_heavy(tmp_path: Path) -> None:
    script = "import json, sys, flowdecode; print(json.dumps([flowdecode.__file__, *sys.modules]))"
    finished = subprocess.run(
        [sys.executable, "-c", script], cwd=tmp_path, capture_output=True, text=True, check=False
    )
    assert finished.returncode == 0, finished.stderr
    origin, *loaded = json.loads(finished.stdout)
    assert Path(origin).name == "__init__.py"
    assert "flowdecode" in loaded
    late = [module for module in loaded if any(f"{module}.".startswith(f"{name}.") for name in LOADED_LATE)]
    assert late == []


def test_commands_load_with_the_core_packages_alone(tmp_path: Path) -> None:
    """What an extra brings is asked for by name when a command runs, and not met as a traceback."""
    script = f"""
import importlib.metadata, sys

class Absent:
    def find_spec(self, name, path=None, target=None):
        if name.partition(".")[0] in {sorted(EXTRA)!r}:
            raise ModuleNotFoundError(name)

sys.meta_path.insert(0, Absent())
for command in importlib.metadata.entry_points(group="flowdecode.commands"):
    command.load()
"""
    finished = subprocess.run(
        [sys.executable, "-c", script], cwd=tmp_path, capture_output=True, text=True, check=False
    )
    assert finished.returncode == 0, finished.stderr


@pytest.mark.parametrize("name", PUBLIC_MODULES)
def test_public_module_declares_its_names(name: str) -> None:
    module = importlib.import_module(name)
    assert "__all__" in vars(module), f"{name} declares no __all__"
    names = list(module.__all__)
    assert len(names) == len(set(names)), f"{name}.__all__ has duplicates"
    missing = [public for public in names if not hasattr(module, public)]
    assert missing == []


def test_flowdecode_exports_few_names() -> None:
    names = importlib.import_module("flowdecode").__all__
    assert 0 < len(names) <= MOST_PUBLIC_NAMES


@pytest.mark.parametrize(
    "entry_point", declared_entry_points(), ids=lambda entry_point: f"{entry_point.group}:{entry_point.name}"
)
def test_declared_entry_point_loads(entry_point: importlib.metadata.EntryPoint) -> None:
    assert callable(entry_point.load()) or isinstance(entry_point.load(), Grammar)


def test_installed_entry_points_are_the_declared_ones() -> None:
    installed = importlib.metadata.distribution("flowdecode").entry_points
    assert set(installed) == set(declared_entry_points()), "pyproject.toml changed: run `make venv`"
