"""Who may import whom, as the design says; walked, not trusted."""

from __future__ import annotations

import ast
import re
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.support.imports import ROOT, circles, edges_of, foreign, imports, modules_of

OUR_FOLDERS = ("bot", "commands", "trainer", "trainmaster")

CORE = ("trainmaster.bot.core", "trainmaster.bot.errors", "trainmaster.bot.ports")
CONTRACT = "trainmaster.trainer.contract"
RECORD = "trainmaster.record"
"""Data that does not change: standard library only."""
VISIBLE = "trainmaster.visible"
"""Foreign text made harmless: standard library only, and every part that shows text may use it."""
TERMINAL = "trainmaster.terminal"
"""The terminal that a verb runs in: standard library only."""
LOADING = "trainmaster.loading"
"""How modules load: standard library only."""
INSIDE = (*CORE, CONTRACT)
"""What the adapters may use beside themselves; none of them knows another one."""
CHECKS = "trainmaster.bot.checks"
READING = "trainmaster.bot.reading"
ADAPTERS = (
    *("trainmaster.bot.watching", "trainmaster.bot.alerting", "trainmaster.bot.operations", "trainmaster.bot.storage"),
    *("trainmaster.bot.drivers", "trainmaster.bot.slack", "trainmaster.bot.paging", "trainmaster.commands"),
)
WIRED = (
    *(*INSIDE, CHECKS, READING, *ADAPTERS, "trainmaster.bot.settings", "trainmaster.bot.service"),
    "trainmaster.bot.findings_sink",
    *("trainmaster.bot.wiring", "trainmaster.bot.app"),
)
RULES: dict[str, tuple[str, ...]] = {
    "trainer/contract.py": (),
    "trainer/arguments.py": (),
    "trainer/jobs": ("trainmaster.trainer.jobs", "trainmaster.trainer.arguments", CONTRACT),
    "trainer/levels.py": ("trainmaster.trainer.arguments",),
    "trainer/__main__.py": ("trainmaster.trainer", "trainmaster.__main__"),
    "trainer": ("trainmaster.trainer",),
    "bot/core": ("trainmaster.bot.core", CONTRACT),
    "bot/errors.py": (),
    "bot/ports.py": ("trainmaster.bot.core", "trainmaster.bot.errors"),
    "bot/checks": (CHECKS, "trainmaster.bot.core", CONTRACT),
    "bot/reading": (READING, *CORE, CONTRACT, RECORD),
    "commands": ("trainmaster.commands", *INSIDE),
    "bot/alerting": ("trainmaster.bot.alerting", *INSIDE),
    "bot/operations": ("trainmaster.bot.operations", *INSIDE, CHECKS),
    "bot/watching/read_pool.py": (),
    "bot/watching": ("trainmaster.bot.watching", *INSIDE, CHECKS),
    "bot/storage": ("trainmaster.bot.storage", *INSIDE),
    "bot/paging": ("trainmaster.bot.paging", *INSIDE),
    "bot/slack": ("trainmaster.bot.slack", *INSIDE),
    "bot/terminal": ("trainmaster.bot.terminal", *INSIDE, READING),
    "bot/drivers": (
        "trainmaster.bot.drivers",
        *INSIDE,
        "trainmaster.trainer.levels",
        "trainmaster.trainer.arguments",
        "trainmaster.trainer.jobs",
        "trainmaster.__file__",
    ),
    "bot/service": ("trainmaster.bot.service", "trainmaster.bot.errors", "trainmaster.bot.core.metrics"),
    "bot/workspace": ("trainmaster.bot.workspace", "trainmaster.bot.errors"),
    "bot/settings": (
        *("trainmaster.bot.settings", *CORE, CONTRACT, CHECKS),
        *(
            "trainmaster.bot.alerting",
            "trainmaster.bot.operations",
            "trainmaster.bot.watching",
            "trainmaster.bot.paging",
        ),
    ),
    "bot/findings_sink.py": (*CORE, "trainmaster.bot.alerting", "trainmaster.bot.storage"),
    "bot/app.py": WIRED,
    "bot/wiring": WIRED,
    "bot/rehearsal": ("trainmaster.bot.rehearsal", "trainmaster.bot.workspace", *WIRED),
    "bot/cli": ("trainmaster.bot.cli", "trainmaster.bot.rehearsal", "trainmaster.bot.terminal", *WIRED),
    "bot/__main__.py": ("trainmaster.__main__",),
    "bot/__init__.py": (),
    "trainmaster": ("trainmaster.verbs", RECORD, "trainmaster.bot.cli.main", "trainmaster.trainer"),
}
THIRD_PARTY: dict[str, frozenset[str]] = {
    "bot/drivers": frozenset({"psutil", "pynvml"}),
    "bot/paging": frozenset({"apprise"}),
    "bot/service": frozenset({"aiohttp", "apscheduler", "prometheus_client"}),
    "bot/settings": frozenset({"dotenv", "pydantic", "pydantic_core", "pydantic_settings"}),
    "bot/slack": frozenset({"aiohttp", "slack_bolt", "slack_sdk"}),
    "bot/storage": frozenset({"pydantic"}),
    "bot/terminal": frozenset({"rich"}),
    "bot/watching": frozenset({"watchfiles"}),
    "bot/workspace": frozenset({"aiohttp"}),
    "trainmaster": frozenset({"cv2"}),
}
"""Beside the standard library; a folder that is not here uses nothing else. The trainer's own stand below."""
AT_THE_ROOT = {"bot": 8, "trainer": 9}
"""Python files at most: an entry, a fixed contract or wiring."""


def _allowed(name: str, allowed: tuple[str, ...]) -> bool:
    return any(name == one or name.startswith(f"{one}.") for one in allowed)


def _files(place: str) -> list[Path]:
    path = ROOT / place
    files = [path] if path.suffix else sorted(path.rglob("*.py"))
    # A rule for a single file outranks that of its folder.
    return [file for file in files if place.endswith(".py") or str(file.relative_to(ROOT)) not in RULES]


@pytest.mark.parametrize("place", RULES)
def test_nothing_is_imported_across_the_layers(place: str) -> None:
    files = _files(place)
    assert files
    wrong = [
        f"{file.relative_to(ROOT)} imports {name}"
        for file in files
        for name in imports(file)
        if name.split(".")[0] == "trainmaster" and not _allowed(name, (*RULES[place], VISIBLE, TERMINAL, LOADING))
    ]
    assert wrong == [], f"RULES has what {place} may import; docs/ARCHITECTURE.md says why"


@pytest.mark.parametrize("module", ["contract", "levels", "arguments"])
def test_what_both_sides_share_needs_the_standard_library_only(module: str) -> None:
    names = {name for name in imports(ROOT / f"trainer/{module}.py") if not name.startswith("trainmaster.trainer.")}
    assert {name.split(".")[0] for name in names} - {"__future__"} <= set(sys.stdlib_module_names)


@pytest.mark.parametrize(
    "module",
    [
        "trainmaster.bot.app",
        "trainmaster.bot.rehearsal.demo",
        "trainmaster.bot.settings.model",
        "trainmaster.bot.cli.doctor",
        "trainmaster.bot.cli.adopt",
        "trainmaster.trainer.contract",
    ],
)
def test_the_supervisor_loads_neither_torch_nor_ultralytics(module: str) -> None:
    code = f"import sys, {module}; print(sorted({{'torch', 'ultralytics', 'numpy', 'cv2'}} & set(sys.modules)))"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True, cwd=ROOT)
    assert done.stdout.strip() == "[]"


def test_the_bot_is_imported_without_the_libraries_that_it_runs_with() -> None:
    """They take four fifths of the time, and whoever only names the class waits for none of them."""
    heavy = {"aiohttp", "slack_bolt", "slack_sdk", "apscheduler", "pydantic", "pydantic_settings", "psutil", "apprise"}
    code = f"import sys, trainmaster.bot.app; print(sorted({heavy} & set(sys.modules)))"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True, cwd=ROOT)
    assert done.stdout.strip() == "[]"


def test_no_file_is_longer_than_two_rooms() -> None:
    long = {
        str(path.relative_to(ROOT)): count
        for place in (*OUR_FOLDERS, "tests")
        for path in (ROOT / place).rglob("*.py")
        if (count := len(path.read_text(encoding="utf-8").splitlines())) > 400
    }
    assert long == {}


def test_every_folder_has_a_rule() -> None:
    """A new room without one would be open to everybody."""
    places = [
        str(path.relative_to(ROOT))
        for top in ("bot", "commands")
        for path in ((ROOT / top).iterdir() if top == "bot" else [ROOT / top])
        if (path.is_dir() and any(path.rglob("*.py"))) or path.suffix == ".py"
    ]
    lacking = sorted(place for place in places if place not in RULES)
    assert lacking == [], "RULES says what each may import, and docs/ARCHITECTURE.md in its table of rooms"


@pytest.mark.parametrize("top", AT_THE_ROOT)
def test_few_files_stand_at_a_root(top: str) -> None:
    files = sorted(path.name for path in (ROOT / top).glob("*.py"))
    assert len(files) <= AT_THE_ROOT[top], files


@pytest.mark.parametrize("place", [place for place in RULES if place.startswith(("bot", "commands", "trainmaster"))])
def test_a_folder_uses_no_library_but_its_own(place: str) -> None:
    wrong = {
        str(file.relative_to(ROOT)): sorted(lacking)
        for file in _files(place)
        if (lacking := foreign(file) - THIRD_PARTY.get(place, frozenset()))
    }
    assert wrong == {}, "THIRD_PARTY has the libraries of a room"


def test_a_library_in_a_room_that_has_none_is_noticed(tmp_path: Path) -> None:
    file = tmp_path / "alert.py"
    file.write_text("import json\ndef post():\n    from aiohttp import web\n", encoding="utf-8")
    assert foreign(file) == {"aiohttp"}


def test_no_two_modules_import_each_other() -> None:
    """Imports within functions count: they hide a knot, they don't cut it."""
    assert circles(edges_of(modules_of(*OUR_FOLDERS))) == []


def test_a_circle_is_noticed() -> None:
    assert circles({"a": {"b"}, "b": {"c"}, "c": {"a"}, "d": {"a"}}) == [["a", "b", "c"]]
    assert circles({"a": {"b"}, "b": {"c"}, "c": set()}) == []


def test_no_two_scripts_of_the_page_import_each_other() -> None:
    scripts = ROOT / "bot" / "workspace" / "static"
    edges = {
        path.name: set(
            re.findall(r"""(?:from|import)\s*\(?["']\./([\w-]+\.js)["']""", path.read_text(encoding="utf-8"))
        )
        for path in scripts.glob("*.js")
    }
    assert any(edges.values())
    assert set().union(*edges.values()) <= set(edges)
    assert circles(edges) == []


# The trainer: a part imports parts of the rows below its own, nothing beside it. ``__main__`` and the verbs are on top.
TRAINER_ROWS = (
    ("__main__",),
    ("cli",),
    ("selfcheck", "pictures"),
    ("guard",),
    ("run",),
    ("incidents",),
    ("state",),
    ("batches", "settings"),
    ("engines",),
    ("data",),
    ("stop",),
    ("copies",),
    ("checkpoints", "records", "drill", "levels"),
    ("jobs",),
    ("contract", "arguments"),
    ("__init__",),
)
TRAINER_RANK = {part: row for row, parts in enumerate(TRAINER_ROWS) for part in parts}


def _trainer_imports() -> dict[str, set[str]]:
    """Every module of the trainer -> the modules of the trainer that it imports, anywhere in its text."""
    base = ROOT / "trainer"
    modules = {".".join(path.relative_to(base).with_suffix("").parts): path for path in base.rglob("*.py")}
    found: dict[str, set[str]] = {}
    for module, path in modules.items():
        names = {name.removeprefix("trainmaster.trainer.") for name in imports(path) if "trainmaster.trainer." in name}
        found[module] = {known for name in names for known in (name, name.rpartition(".")[0]) if known in modules}
    return found


def test_every_part_of_the_trainer_has_its_row() -> None:
    parts = {module.split(".")[0] for module in _trainer_imports()}
    assert parts - set(TRAINER_RANK) == set(), "TRAINER_ROWS has the order in which parts import each other"


@pytest.mark.parametrize("part", TRAINER_RANK)
def test_the_trainer_imports_downwards_only(part: str) -> None:
    wrong = [
        f"{module} imports {other}"
        for module, others in _trainer_imports().items()
        for other in others
        if module.split(".")[0] == part != other.split(".")[0]
        and TRAINER_RANK[other.split(".")[0]] <= TRAINER_RANK[part]
    ]
    assert wrong == []


def test_no_modules_of_the_trainer_import_each_other_in_a_circle() -> None:
    left = {module: set(others) - {module} for module, others in _trainer_imports().items()}
    while free := [module for module, others in left.items() if not others & set(left)]:
        for module in free:
            del left[module]
    assert left == {}


@pytest.mark.parametrize("part", ["checkpoints", "copies", "records"])
def test_what_judges_and_records_without_torch_loads_none_at_its_start(part: str) -> None:
    heavy = {"torch", "ultralytics", "numpy", "cv2"}
    # What a training saves with, never a verb.
    allowed = {f"checkpoints/{name}.py" for name in ("state", "attest", "live_settings")}
    found = {
        str(path.relative_to(ROOT / "trainer"))
        for path in (ROOT / "trainer" / part).rglob("*.py")
        if any(name.split(".")[0] in heavy for name in _top_imports(path))
    }
    assert found <= allowed


def _top_imports(path: Path) -> Iterator[str]:
    for node in ast.parse(path.read_text(encoding="utf-8")).body:
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom) and node.module:
            yield node.module


def test_the_root_of_the_trainer_holds_entries_contracts_and_wiring_only() -> None:
    assert len(list((ROOT / "trainer").glob("*.py"))) <= 9


def _definitions(folder: str) -> Iterator[tuple[Path, ast.ClassDef | ast.FunctionDef | ast.AsyncFunctionDef]]:
    for path in sorted((ROOT / folder).rglob("*.py")):
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            if isinstance(node, ast.ClassDef | ast.FunctionDef | ast.AsyncFunctionDef):
                yield path, node


def test_a_class_of_the_trainer_shares_its_name_with_no_other_class_of_the_trainer() -> None:
    names = [node.name for _, node in _definitions("trainer") if isinstance(node, ast.ClassDef)]
    assert sorted({name for name in names if names.count(name) > 1}) == []


def test_a_docstring_of_the_trainer_says_more_than_the_name() -> None:
    short = [
        f"{path.relative_to(ROOT)}: {node.name}: {text}"
        for path, node in _definitions("trainer")
        if (text := ast.get_docstring(node)) and len(text.split()) <= 3
    ]
    assert short == []
