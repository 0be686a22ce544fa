"""A setting is declared once, by the part that uses it: collected, handed back, written down."""

from __future__ import annotations

import ast
import importlib
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass, field, fields
from enum import StrEnum
from pathlib import Path
from typing import Annotated, Any

import pytest

from trainmaster.bot.alerting.limits import AlertLimits
from trainmaster.bot.checks.limits import CheckLimits
from trainmaster.bot.core.setting import Setting
from trainmaster.bot.operations.limits import OperationLimits
from trainmaster.bot.settings import declared
from trainmaster.bot.settings.limits import operation_limits
from trainmaster.bot.settings.model import LIMITS, SECTIONS, Settings, load_settings

ROOT = Path(__file__).parents[4]
WRITE = "run: trainmaster settings > .env.example"


@dataclass(frozen=True, slots=True, kw_only=True)
class Patience:
    """How long somebody waits. Used here only."""

    wait_s: Annotated[float, Setting("s", gt=0)] = 5.0
    """Nobody waits
    longer."""
    tries: Annotated[int, Setting("times", ge=1, name="wait_tries")] = 3
    """After that a person is called."""
    inner_s: float = 1.0
    """A limit that nobody sets."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Greed:
    """How much somebody takes."""

    share: Annotated[float, Setting("%")] = 50.0
    patience: Patience = field(default_factory=Patience)


def other_than(default: Any) -> Any:
    """Another value that every bound of today allows."""
    if isinstance(default, StrEnum):
        return next(one for one in type(default) if one is not default)
    return (not default) if isinstance(default, bool) else default + 1 if isinstance(default, int) else default * 1.01


@pytest.fixture(scope="module")
def sources() -> dict[Path, ast.Module]:
    """Every file of the bot, read once."""
    return {path: ast.parse(path.read_text(encoding="utf-8")) for path in sorted((ROOT / "bot").rglob("*.py"))}


def is_limit(value: ast.expr | None) -> bool:
    """What counts something begins with 0."""
    return isinstance(value, ast.Constant) and type(value.value) in {int, float, bool} and value.value != 0


def limits_classes(sources: dict[Path, ast.Module]) -> Iterator[tuple[str, ast.ClassDef]]:
    for path, tree in sources.items():
        for node in ast.walk(tree):
            if isinstance(node, ast.ClassDef) and node.name.endswith(("Limits", "Settings")):
                yield f"{path.relative_to(ROOT)}:{node.name}", node


def declared_in(tree: ast.AST) -> Iterator[str]:
    """Settings that a file declares."""
    for node in ast.walk(tree):
        if isinstance(node, ast.AnnAssign) and isinstance(node.target, ast.Name):
            for call in ast.walk(node.annotation):
                if isinstance(call, ast.Call) and isinstance(call.func, ast.Name) and call.func.id == "Setting":
                    named = [word.value for word in call.keywords if word.arg == "name"]
                    yield str(named[0].value) if named and isinstance(named[0], ast.Constant) else node.target.id


def test_the_example_file_is_what_the_command_writes() -> None:
    command = [sys.executable, "-m", "trainmaster", "settings"]
    done = subprocess.run(command, capture_output=True, check=True, cwd=ROOT)
    assert done.stdout.decode() == (ROOT / ".env.example").read_text(encoding="utf-8"), WRITE


def test_every_declaration_in_the_bot_is_collected_once(sources: dict[Path, ast.Module]) -> None:
    found = [name for tree in sources.values() for name in declared_in(tree)]
    assert sorted(found) == sorted(Settings.model_fields)


def test_every_section_has_a_title_of_its_own() -> None:
    titles = [declared.title(owner) for owner in SECTIONS]
    assert len(set(titles)) == len(SECTIONS)
    assert all(titles)


def test_no_default_of_a_setting_stands_in_a_second_place(sources: dict[Path, ast.Module]) -> None:
    """Neither as a parameter's default nor in another class."""
    owners = {part.__name__ for part in LIMITS}
    known = {one.name for part in LIMITS for one in fields(part)} | set(Settings.model_fields)
    again = []
    for path, tree in sources.items():
        for node in ast.walk(tree):
            if isinstance(node, ast.arguments):
                positional = node.posonlyargs + node.args
                pairs = [
                    *zip(reversed(positional), reversed(node.defaults), strict=False),
                    *zip(node.kwonlyargs, node.kw_defaults, strict=True),
                ]
                again += [
                    f"{path.relative_to(ROOT)}:{one.lineno} {one.arg}"
                    for one, value in pairs
                    if one.arg in known and is_limit(value)
                ]
            if isinstance(node, ast.ClassDef) and node.name not in owners:
                again += [
                    f"{path.relative_to(ROOT)}:{one.lineno} {one.target.id}"
                    for one in node.body
                    if isinstance(one, ast.AnnAssign) and isinstance(one.target, ast.Name)
                    if one.target.id in known and is_limit(one.value)
                ]
    assert again == []


def test_every_field_of_every_limits_class_says_its_reason(sources: dict[Path, ast.Module]) -> None:
    bare = [
        f"{where}.{one.target.id}"
        for where, node in limits_classes(sources)
        for one in node.body
        if isinstance(one, ast.AnnAssign) and isinstance(one.target, ast.Name)
        if one.target.id not in dict(declared._documented(node))
    ]
    assert bare == []


@pytest.mark.parametrize(
    ("part", "name"), [(part, name) for part in LIMITS for name in declared.names(part)], ids=lambda one: str(one)[:40]
)
def test_what_is_set_reaches_the_part_that_declares_it_and_nothing_else(part: type, name: str) -> None:
    changed = other_than(Settings.model_fields[name].default)
    filled = load_settings({name.upper(): str(changed)}, needs_slack=False).part(part)
    differing = [one.name for one in fields(part) if getattr(filled, one.name) != getattr(part(), one.name)]
    assert len(differing) == 1
    assert getattr(filled, differing[0]) == changed


@pytest.mark.parametrize("part", LIMITS)
def test_without_settings_a_part_has_its_own_defaults(part: type) -> None:
    assert Settings().part(part) == part()


def test_a_part_within_a_part_is_filled_too() -> None:
    settings = load_settings({"LOSS_JUMP_FACTOR": "7", "STORM_BAD_BATCHES": "4"}, needs_slack=False)
    assert settings.part(CheckLimits).report.loss_jump_factor == 7
    assert settings.part(OperationLimits).storm.num_bad == 4


def test_limits_that_nobody_sets_stay() -> None:
    assert (
        load_settings({"SILENCE_S": "60"}, needs_slack=False).part(AlertLimits).group_size == AlertLimits().group_size
    )


def test_the_last_reminder_mentions_everybody_to_whom_alerts_escalate() -> None:
    settings = load_settings({"ESCALATE_TO": "U0ANNA; U0BEN, U0ANNA", "REMINDER_S": "1"}, needs_slack=False)
    assert operation_limits(settings).escalate_to == ("U0ANNA", "U0BEN")


def test_a_declaration_becomes_a_field_with_type_bounds_and_reason() -> None:
    found = declared.model_fields([Patience, Greed])
    assert list(found) == ["wait_s", "wait_tries", "share"]
    kind, info = found["wait_s"]
    assert kind == Annotated[float, Setting("s", gt=0)]
    assert (info.default, info.description) == (5.0, "Nobody waits longer.")
    assert declared.title(Patience) == "How long somebody waits"


def test_values_go_back_to_where_they_were_declared() -> None:
    values = {"wait_s": 9.0, "wait_tries": 8, "share": 7.0}
    expected = Greed(share=7.0, patience=Patience(wait_s=9.0, tries=8))
    assert declared.filled(Greed, values.__getitem__) == expected


def test_one_name_declared_by_two_parts_is_refused() -> None:
    @dataclass(frozen=True, slots=True, kw_only=True)
    class Again:
        wait_s: Annotated[float, Setting("s")] = 6.0

    with pytest.raises(TypeError, match="wait_s is declared twice"):
        declared.model_fields([Patience, Again])


def test_bounds_outside_a_limits_class_are_refused_as_they_would_not_hold(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "loose_section.py").write_text(
        "from typing import Annotated\n"
        "from trainmaster.bot.core.setting import Setting\n"
        "from trainmaster.bot.settings.model import SlackSettings\n"
        "class Loose(SlackSettings):\n"
        "    wait_s: Annotated[float, Setting('s', gt=0)] = 5.0\n"
        '    """Nobody waits longer."""\n',
        encoding="utf-8",
    )
    monkeypatch.syspath_prepend(tmp_path)
    with pytest.raises(TypeError, match=r"Loose\.wait_s: what has bounds is declared in a limits class"):
        importlib.import_module("loose_section")
