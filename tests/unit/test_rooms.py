"""How the rooms are cut: what a room of the trainer needs, what the core stands on, names that ask for a folder."""

from __future__ import annotations

import ast
import re
from collections import defaultdict
from collections.abc import Iterable
from pathlib import Path

import pytest

from tests.support.imports import ROOT, circles, edges_of, foreign, imports, modules_of, reached

PRODUCT = ("bot", "commands", "trainer", "trainmaster")
HEAVY = {"torch", "torchvision", "ultralytics", "numpy", "cv2", "matplotlib", "PIL", "sklearn"}
"""What the host of the bot does not have."""
MOST_LINES = 400
MOST_OF_A_PREFIX = 2

_ENGINE = frozenset({"torch", "ultralytics", "numpy"})
TRAINER_LIBRARIES: dict[str, frozenset[str]] = {
    "batches": _ENGINE,
    "checkpoints": frozenset({"torch", "numpy"}),
    "cli": frozenset({"torch", "ultralytics"}),
    "copies": frozenset({"fsspec", "psutil"}),
    "data": _ENGINE | {"cv2", "sklearn"},
    "drill": frozenset({"torch"}),
    "engines": _ENGINE,
    "guard": frozenset({"ultralytics"}),
    "incidents": frozenset({"torch", "ultralytics"}),
    "pictures": frozenset({"matplotlib", "numpy", "PIL"}),
    "records": frozenset({"psutil"}),
    "run": _ENGINE | {"psutil"},
    "selfcheck": _ENGINE | {"cv2", "psutil"},
    "settings": frozenset({"ultralytics"}),
    "state": _ENGINE | {"psutil"},
}
"""Beside the standard library; a part that is not here uses nothing else."""
CORE_ROWS = (
    *(("metrics", "keeping"), ("decisions",), ("alerts",), ("run",), ("health",), ("conversation",)),
    ("check_name", "setting", "evolve"),
)
"""A part of the core imports parts of the rows below its own."""
COMPUTES = ("bot/core", "bot/checks")
"""Everything that these judge is passed to them, the time as well."""
PURE = frozenset(
    {"__future__", "bisect", "collections", "dataclasses", "datetime", "enum", "fnmatch", "functools", "hashlib"}
    | {"ipaddress", "itertools", "json", "math", "operator", "pathlib", "re", "secrets", "signal", "statistics", "sys"}
    | {"types", "typing", "unicodedata", "urllib"}
)
"""Of the standard library: what computes, and names of things."""
ASKING = re.compile(
    r"\b(?:date|datetime|clock|Path|PurePath)\.(?:now|today|utcnow|cwd|home)\(|(?<![\w.])(?:open|print|input)\("
    r"|\.(?:read_(?:text|bytes)|write_(?:text|bytes)|l?stat|exists|is_(?:file|dir)|iterdir|r?glob|resolve|unlink|mkdir)\("
)
"""The clock or the disk, through what is pure otherwise."""


def test_a_part_of_the_trainer_uses_no_library_but_its_own() -> None:
    used: defaultdict[str, set[str]] = defaultdict(set)
    for path in (ROOT / "trainer").rglob("*.py"):
        used[path.relative_to(ROOT / "trainer").with_suffix("").parts[0]] |= foreign(path)
    wrong = {
        part: sorted(lacking) for part, all_ in used.items() if (lacking := all_ - TRAINER_LIBRARIES.get(part, set()))
    }
    assert wrong == {}, "a row of TRAINER_LIBRARIES in this file says what a part may use"


def test_no_module_of_the_bot_reaches_what_its_host_lacks() -> None:
    """Not through any module that it imports, now or later."""
    modules = modules_of(*PRODUCT)
    edges = edges_of(modules)
    reached_by_bot = {
        one: module
        for module in modules
        if module.startswith(("trainmaster.bot", "trainmaster.commands"))
        for one in {module, *reached(edges, module)} - {"trainmaster", "trainmaster.__main__"}
    }
    wrong = {
        f"{asker} -> {one}": sorted(found)
        for one, asker in reached_by_bot.items()
        if not one.startswith("trainmaster.trainer.cli") and (found := foreign(modules[one]) & HEAVY)
    }
    assert wrong == {}


def test_no_import_is_relative() -> None:
    """The rules name modules in full; a dot would pass them by."""
    wrong = [(str(path), name) for path in modules_of(*PRODUCT).values() for name in imports(path) if name[:1] == "."]
    assert wrong == []


@pytest.mark.parametrize(
    ("code", "name"),
    [
        ("from . import chat", "..chat"),
        ("from ..slack import chat", "..slack.chat"),
        ("import importlib\nimportlib.import_module('torch')", "torch"),
        ("def f():\n    __import__('torch')", "torch"),
    ],
    ids=["of the folder", "of a folder beside", "by name", "by the built-in"],
)
def test_an_import_in_other_words_is_noticed(tmp_path: Path, code: str, name: str) -> None:
    file = tmp_path / "alert.py"
    file.write_text(code, encoding="utf-8")
    assert name in imports(file)


def test_the_rooms_of_the_core_stand_on_each_other_downwards_only() -> None:
    rank = {room: row for row, rooms in enumerate(CORE_ROWS) for room in rooms}
    base = "trainmaster.bot.core."
    edges = edges_of(modules_of("bot"))
    pairs = {
        (module.removeprefix(base).split(".")[0], other.removeprefix(base).split(".")[0])
        for module, others in edges.items()
        for other in others
        if module.startswith(base) and other.startswith(base)
    }
    assert {one for pair in pairs for one in pair} <= set(rank), "a new part of the core gets its row in CORE_ROWS"
    assert sorted((one, two) for one, two in pairs if one != two and rank[one] >= rank[two]) == []


def test_the_core_and_the_checks_ask_neither_clock_nor_disk_and_wait_for_nothing() -> None:
    files = [path for place in COMPUTES for path in (ROOT / place).rglob("*.py")]
    assert {
        f"{path.relative_to(ROOT)} uses {name}"
        for path in files
        for name in {one.split(".")[0] for one in imports(path)} - PURE - {"trainmaster"} - foreign(path)
    } == set(), "whoever calls passes it in; PURE in this file has what only computes"
    assert {str(path.relative_to(ROOT)) for path in files if ASKING.search(path.read_text(encoding="utf-8"))} == set()


@pytest.mark.parametrize(
    ("code", "asks"),
    [
        ("datetime.now(UTC)", True),
        ("Path(name).stat()", True),
        ("open(name)", True),
        ("times.now", False),
        ("reopen(name)", False),
        ("math.log(2)", False),
    ],
)
def test_whoever_asks_clock_or_disk_is_noticed(code: str, *, asks: bool) -> None:
    assert bool(ASKING.search(code)) is asks


def test_data_of_the_core_and_of_the_checks_is_frozen_and_has_slots() -> None:
    wrong = [
        f"{path.relative_to(ROOT)}: {node.name}"
        for place in COMPUTES
        for path in (ROOT / place).rglob("*.py")
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8")))
        if isinstance(node, ast.ClassDef)
        for one in node.decorator_list
        if ast.unparse(one).startswith("dataclass") and not {"frozen=True", "slots=True"} <= _words(one)
    ]
    assert wrong == []


def _words(decorator: ast.expr) -> set[str]:
    return {ast.unparse(word) for word in decorator.keywords} if isinstance(decorator, ast.Call) else set()


def test_no_test_takes_a_mock() -> None:
    """A fake has a behaviour of its own, which its tests hold; a mock agrees to anything."""
    files = [path for path in (ROOT / "tests").rglob("*.py") if "unittest" in path.read_text(encoding="utf-8")]
    assert [str(path.relative_to(ROOT)) for path in files if "unittest.mock" in {*_tops(path)}] == []


def _tops(path: Path) -> set[str]:
    return {".".join(name.split(".")[:2]) for name in imports(path)}


ASKS_NO_KIND = ("bot/checks", "bot/alerting", "bot/operations", "bot/terminal", "commands")
NARROWED = {"bot/operations/start/restart.py"}
"""What began here and signs in nowhere is recorded as the process that it is."""


def test_no_check_command_or_operation_asks_whether_a_run_is_a_process_or_a_job() -> None:
    """An identity answers for itself (``label``, ``pids``, ``elsewhere``, ``may_come_back``), whatever its kind."""
    asking = re.compile(r"isinstance\([^)]*\b(?:ProcessIdentity|JobIdentity)\b")
    files = [path for place in ASKS_NO_KIND for path in (ROOT / place).rglob("*.py")]
    asked = {str(path.relative_to(ROOT)) for path in files if asking.search(path.read_text(encoding="utf-8"))}
    assert asked == NARROWED


def shared_prefixes(names: Iterable[str]) -> dict[str, list[str]]:
    """The first words that three modules have or more, with those modules."""
    found: defaultdict[str, list[str]] = defaultdict(list)
    for name in sorted(names):
        found[name.lstrip("_").split("_")[0]].append(name)
    return {prefix: names for prefix, names in found.items() if len(names) > MOST_OF_A_PREFIX}


def test_three_files_with_one_prefix_are_a_folder() -> None:
    folders: defaultdict[str, list[str]] = defaultdict(list)
    for path in modules_of(*PRODUCT).values():
        if not path.stem.startswith("__"):
            folders[str(path.parent.relative_to(ROOT))].append(path.stem)
    wrong = {folder: found for folder, names in folders.items() if (found := shared_prefixes(names))}
    assert wrong == {}, "make a folder of that name, and list it in pyproject.toml"


def test_a_third_file_of_a_prefix_is_noticed() -> None:
    assert shared_prefixes(["stop", "stop_offers"]) == {}
    assert shared_prefixes(["stop", "stop_offers", "stopping", "stop_requests"]) == {
        "stop": ["stop", "stop_offers", "stop_requests"]
    }


def test_no_script_or_sheet_of_the_page_is_longer_than_two_rooms() -> None:
    sheets = [path for path in (ROOT / "bot" / "workspace" / "static").iterdir() if path.suffix in {".js", ".css"}]
    assert [path.name for path in sheets if len(path.read_text("utf-8").splitlines()) > MOST_LINES] == []


def test_a_circle_through_a_name_in_quotes_is_one(tmp_path: Path) -> None:
    one, two = tmp_path / "one.py", tmp_path / "two.py"
    one.write_text("import trainmaster.two\n", encoding="utf-8")
    two.write_text("import importlib\nimportlib.import_module('trainmaster.one')\n", encoding="utf-8")
    assert circles(edges_of({"trainmaster.one": one, "trainmaster.two": two})) == [
        ["trainmaster.one", "trainmaster.two"]
    ]
