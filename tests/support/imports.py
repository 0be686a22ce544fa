"""What the files of the checkout import, read from their text."""

from __future__ import annotations

import ast
import sys
from collections.abc import Iterator
from functools import cache
from pathlib import Path

ROOT = Path(__file__).parents[2]
_BY_NAME = frozenset({"import_module", "__import__"})


@cache
def imports(path: Path) -> tuple[str, ...]:
    """Every name that a file imports, anywhere in its text: within functions, for types, and by a name in quotes."""
    return tuple(_imported(ast.parse(path.read_text(encoding="utf-8"))))


def _imported(tree: ast.Module) -> Iterator[str]:
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            dots = node.level * "."  # no rule allows a name that begins with one
            yield from (f"{dots}{node.module or ''}.{alias.name}" for alias in node.names)
        elif isinstance(node, ast.Call) and ast.unparse(node.func).rpartition(".")[2] in _BY_NAME:
            yield from (one.value for one in node.args[:1] if isinstance(one, ast.Constant))


def foreign(path: Path) -> set[str]:
    """The packages of others that a file imports, anywhere in its text."""
    tops = {name.split(".")[0] for name in imports(path)}
    return tops - set(sys.stdlib_module_names) - {"trainmaster", "__future__", ""}


def modules_of(*tops: str) -> dict[str, Path]:
    """Every module below the folders ``tops`` by the name that it is imported by."""
    found = {}
    for top in tops:
        for path in (ROOT / top).rglob("*.py"):
            parts = path.relative_to(ROOT).with_suffix("").parts
            name = ".".join(parts if parts[0] == "trainmaster" else ("trainmaster", *parts))
            found[name.removesuffix(".__init__")] = path
    return found


def edges_of(modules: dict[str, Path]) -> dict[str, set[str]]:
    """Each of ``modules`` with those of them that it imports, but for the package's front, which hands out what lies
    below."""
    edges: dict[str, set[str]] = {}
    for module, path in modules.items():
        edges[module] = set()
        for name in imports(path):
            while name and name not in modules:
                name = name.rpartition(".")[0]  # noqa: PLW2901 - from the attribute up to its module
            if name not in {"", module, "trainmaster"}:
                edges[module].add(name)
    return edges


def reached(edges: dict[str, set[str]], start: str) -> set[str]:
    """What loads, now or later, where ``start`` is imported; itself only if it is in a circle."""
    seen: set[str] = set()
    open_ = [start]
    while open_:
        for one in edges.get(open_.pop(), set()) - seen:
            seen.add(one)
            open_.append(one)
    return seen


def circles(edges: dict[str, set[str]]) -> list[list[str]]:
    """The groups in which everyone reaches everyone else, as sorted lists."""
    reach = {start: reached(edges, start) for start in edges}
    groups = {
        frozenset(two for two in reach[one] if one in reach.get(two, set())) for one in edges if one in reach[one]
    }
    return sorted(sorted(group) for group in groups)
