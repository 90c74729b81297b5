"""Imports go one way: each room may import the rooms of its row, and no others.

A room is a folder or a module directly under `src/chainrule`. The table is the order of the
design; a new room gets a row here before it gets a file.
"""

from __future__ import annotations

import ast
import subprocess
import sys
from collections.abc import Iterator
from graphlib import CycleError, TopologicalSorter
from pathlib import Path

import pytest

pytestmark = pytest.mark.tiny

PACKAGE = Path(__file__).resolve().parent.parent / "src" / "chainrule"

_BASE = {"errors", "config", "known"}
_GRAPH = _BASE | {"random_bits", "graph"}
_STAGES = _GRAPH | {"reference", "tracing", "backward", "rewrite"}
_TRAINING = _STAGES | {
    "runtime",
    "backends",
    "pipeline",
    "loops",
    "nn",
    "optim",
    "data",
    "store",
    "observe",
    "training",
}
_PUBLIC = _TRAINING | {"checking", "jacobians", "loops", "lowering", "report"}

MAY_IMPORT: dict[str, set[str]] = {
    "errors": set(),
    "known": set(),
    "config": {"errors"},
    "random_bits": {"errors"},
    "graph": _BASE,
    "reference": _GRAPH,
    "tracing": _BASE | {"graph", "random_bits"},
    "backward": _BASE | {"graph"},
    "rewrite": _BASE | {"graph", "reference"},  # constants are folded by what defines the ops
    "native": _GRAPH | {"store"},  # compiled code is kept in files
    "runtime": _GRAPH | {"native"},
    "backends": _GRAPH | {"reference", "native"},
    "pipeline": _STAGES | {"backends"},
    "lowering": _STAGES | {"native", "pipeline"},
    "checking": _BASE | {"tracing", "pipeline"},
    "jacobians": _BASE | {"graph", "tracing", "backward", "pipeline"},
    "loops": _BASE | {"graph", "tracing", "backward", "pipeline"},
    "nn": _GRAPH | {"reference", "tracing", "pipeline", "loops", "store"},
    "optim": _BASE | {"reference", "tracing", "pipeline", "jacobians"},
    "data": {"errors", "config", "random_bits", "store"},
    "store": {"errors"},
    "observe": {"errors"},
    "training": (_TRAINING - {"training"}) | {"report"},  # a run writes its own report
    "report": {"errors", "observe"},
    "chainrule": _PUBLIC,
    "cli": _PUBLIC | {"chainrule", "native"},
    "__main__": {"cli"},
}

WATCHERS = {"observe", "doctor", "report"}
MAY_LOAD_LLVM = {"native", "runtime"}
LOADED_LAZILY = (
    "polars narwhals safetensors rich jinja2 llvmlite scipy PIL soundfile urllib.request"
).split()


def _is_type_checking(node: ast.AST) -> bool:
    return isinstance(node, ast.If) and "TYPE_CHECKING" in ast.unparse(node.test)


def _nodes(tree: ast.AST, *, at_import: bool) -> Iterator[ast.AST]:
    """Every node of `tree`; with `at_import`, only those that run when the module is imported."""
    for child in ast.iter_child_nodes(tree):
        is_function = isinstance(child, ast.FunctionDef | ast.AsyncFunctionDef | ast.Lambda)
        if at_import and (is_function or _is_type_checking(child)):
            continue
        yield child
        yield from _nodes(child, at_import=at_import)


def imported_names(source: str, package: str = "", *, at_import: bool = False) -> set[str]:
    """The dotted names that `source`, a module of `package`, imports, however it does so.

    `from a import b` gives `a.b`, whether b is a module or not.
    """
    names: set[str] = set()
    for node in _nodes(ast.parse(source), at_import=at_import):
        if isinstance(node, ast.Import):
            names |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            parents = package.split(".")
            base = parents[: len(parents) - node.level + 1] if node.level else []
            base += node.module.split(".") if node.module else []
            names |= {".".join([*base, alias.name]) for alias in node.names}
        elif isinstance(node, ast.Call) and node.args and isinstance(node.args[0], ast.Constant):
            function = ast.unparse(node.func).rpartition(".")[2]
            if function in ("import_module", "__import__"):
                names.add(str(node.args[0].value))
    return names


def _module_name(path: Path) -> str:
    parts = ("chainrule", *path.relative_to(PACKAGE).with_suffix("").parts)
    return ".".join(parts[:-1] if parts[-1] == "__init__" else parts)


SOURCES = {_module_name(path): path for path in sorted(PACKAGE.rglob("*.py"))}


def _imports(module: str, *, at_import: bool = False) -> set[str]:
    path = SOURCES[module]
    package = module if path.name == "__init__.py" else module.rpartition(".")[0]
    return imported_names(path.read_text(encoding="utf-8"), package, at_import=at_import)


def _own_module(name: str) -> str | None:
    """The module of ours that importing `name` loads, or None when it is not ours."""
    while name and name not in SOURCES:
        name = name.rpartition(".")[0]
    return name or None


def _room(module: str) -> str:
    return module.split(".")[1] if "." in module else module


def test_every_room_has_a_row() -> None:
    """No file appears outside the order of rooms."""
    assert {_room(module) for module in SOURCES} <= set(MAY_IMPORT)


def test_the_order_of_rooms_has_no_cycle() -> None:
    """The table itself is an order, so code that keeps to it cannot have a cycle of rooms."""
    TopologicalSorter(MAY_IMPORT).prepare()


@pytest.mark.parametrize("module", SOURCES)
def test_imports_go_one_way(module: str) -> None:
    """Every import, inside functions and for types too, is of a room that the row allows."""
    room = _room(module)
    loaded = {own for name in _imports(module) if (own := _own_module(name))}
    outside = {
        f"{module} -> {own}" for own in loaded if _room(own) not in {room, *MAY_IMPORT[room]}
    }
    assert not outside


def test_no_modules_import_each_other_in_a_circle() -> None:
    """Importing any module first works: nothing needs a module that is still being imported."""
    graph = {
        module: {own for name in _imports(module, at_import=True) if (own := _own_module(name))}
        for module in SOURCES
    }
    try:
        TopologicalSorter(graph).prepare()
    except CycleError as error:
        pytest.fail(" <- ".join(error.args[1]))


@pytest.mark.parametrize("module", SOURCES)
def test_the_two_firewalls_stand(module: str) -> None:
    """Those who watch a run cannot reach into it, and LLVM stays behind the native rooms."""
    room, names = _room(module), _imports(module)
    if room in WATCHERS:
        assert not {name for name in names if name.startswith("chainrule.training")}
    if room not in MAY_LOAD_LLVM:
        assert not {name for name in names if name.split(".")[0] == "llvmlite"}


def test_import_chainrule_loads_nothing_slow() -> None:
    """Neither `import chainrule` nor its names load the libraries that only some uses need."""
    program = (
        "import chainrule as cr, sys; [getattr(cr, name) for name in cr.__all__]; "
        "print(*sys.modules)"
    )
    loaded = subprocess.run(
        [sys.executable, "-c", program], check=True, capture_output=True, text=True
    )
    assert "numpy" in loaded.stdout.split()
    assert not set(LOADED_LAZILY) & set(loaded.stdout.split())


def test_each_public_name_is_there_whatever_was_used_before() -> None:
    """Each is asked for first, in a package that was not imported yet."""
    code = """
import importlib, sys
for name in importlib.import_module("chainrule").__all__:
    for module in [m for m in sys.modules if m.split(".")[0] == "chainrule"]:
        del sys.modules[module]
    getattr(importlib.import_module("chainrule"), name)
"""
    subprocess.run([sys.executable, "-c", code], check=True)


@pytest.mark.parametrize(
    ("source", "at_import", "names"),
    [
        ("import a.b, c", True, {"a.b", "c"}),
        ("from a import b as x, c", True, {"a.b", "a.c"}),
        (
            "from . import b\nfrom .c import d\nfrom ..e import f",
            True,
            {"p.q.b", "p.q.c.d", "p.e.f"},
        ),
        ("class A:\n  import a", True, {"a"}),
        ("try:\n  import a\nexcept ImportError:\n  import b", True, {"a", "b"}),
        ("def f():\n  if f:\n    import a", False, {"a"}),
        ("def f():\n  import a", True, set()),
        ("if TYPE_CHECKING:\n  import a", False, {"a"}),
        ("if typing.TYPE_CHECKING:\n  import a", True, set()),
        ("importlib.import_module('a.b')", True, {"a.b"}),
        ("__import__('a')", True, {"a"}),
    ],
)
def test_the_reader_of_imports_sees_them_all(source: str, at_import: bool, names: set[str]) -> None:
    """The rules above are only as good as the reader under them."""
    assert imported_names(source, "p.q", at_import=at_import) == names
