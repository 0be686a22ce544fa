"""The name of a check is one type: what is emitted, what mutes, what is stored and what the page explains agree."""

from __future__ import annotations

import ast
import inspect
import re
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.unit.bot.alerting.fakes import finding
from trainmaster.bot.alerting.inhibit import MUTED_BY, InhibitReason, inhibit
from trainmaster.bot.alerting.limits import AlertLimits
from trainmaster.bot.checks import CHECKS, Check
from trainmaster.bot.checks.lifecycle import _TELLERS
from trainmaster.bot.core.alerts.alert import Alert, AlertState
from trainmaster.bot.core.alerts.finding import Finding, Nature, Severity
from trainmaster.bot.core.check_name import CheckName, ForeignCheck, stored_check
from trainmaster.bot.storage.codec import decode_finding, encode_finding

ROOT = Path(__file__).parents[4]
NOW = 1_700_000_000.0
LIMITS = AlertLimits()
MAKERS = {"Finding", "_condition", "_job_finding"}
OCCURRENCES = {CheckName.RUN_GAVE_UP}
"""Causes that happen once; the others hold."""


@pytest.fixture(scope="module")
def emitted() -> set[CheckName]:
    """Every name that the bot's source makes a finding of."""
    return {*_written(), *map(CheckName, _TELLERS)}


def _written() -> Iterator[CheckName]:
    for path in (ROOT / "bot").rglob("*.py"):
        for call in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            if isinstance(call, ast.Call) and isinstance(call.func, ast.Name) and call.func.id in MAKERS:
                for one in [*call.args, *(word.value for word in call.keywords if word.arg == "check")]:
                    if (
                        isinstance(one, ast.Attribute)
                        and isinstance(one.value, ast.Name)
                        and one.value.id == "CheckName"
                    ):
                        yield CheckName[one.attr]


def tables() -> list[list[str]]:
    """The rows of all tables of the page, as cells."""
    lines = (ROOT / "docs/alerts.md").read_text(encoding="utf-8").splitlines()
    return [[cell.strip() for cell in line.strip("|").split("|")] for line in lines if line.startswith("|")]


def named(cell: str) -> list[str]:
    return re.findall(r"`(\w+)`", cell)


def firing(check: CheckName, *, ts: float = NOW, run: str = "digits-1") -> Alert:
    nature = Nature.OCCURRENCE if check in OCCURRENCES else Nature.CONDITION
    found = finding(check, nature=nature, ts=ts, run=run)
    return Alert(finding=found, state=AlertState.FIRING, since_ts=NOW, updated_ts=NOW, told=True)


def test_every_name_is_emitted_and_every_emitted_name_is_one(emitted: set[CheckName]) -> None:
    assert emitted == set(CheckName), "names stand in bot/core/check_name.py"


def test_the_page_explains_every_name_once_and_no_other() -> None:
    explained = [name for row in tables() if len(row) == 4 for name in named(row[1])]
    assert sorted(explained) == sorted(CheckName), "each name has one row of four cells in docs/alerts.md"


def test_the_page_says_which_alert_mutes_which() -> None:
    told = {row[0].strip("`"): set(named(row[1])) for row in tables() if len(row) == 2 and named(row[0])}
    assert told == {cause: set(effects) for cause, effects in MUTED_BY.items()}


def test_muting_knows_only_names_that_are_emitted(emitted: set[CheckName]) -> None:
    assert set(MUTED_BY) <= emitted
    assert set().union(*MUTED_BY.values()) <= emitted


@pytest.mark.parametrize("effect", CheckName)
@pytest.mark.parametrize("cause", MUTED_BY)
def test_a_cause_mutes_its_effects_and_nothing_else(cause: CheckName, effect: CheckName) -> None:
    muted = effect in MUTED_BY[cause]
    reason = InhibitReason.CAUSE_HAPPENED if cause in OCCURRENCES else InhibitReason.CAUSE_FIRING
    target = firing(effect, ts=NOW - 1)
    assert inhibit(target, [firing(cause), target], LIMITS).reason is (reason if muted else InhibitReason.FREE)
    elsewhere = firing(cause, run="other")
    assert inhibit(target, [elsewhere, target], LIMITS).reason is InhibitReason.FREE


def test_nothing_mutes_its_own_cause() -> None:
    assert [
        (cause, effect)
        for cause, effects in MUTED_BY.items()
        for effect in effects
        if cause in MUTED_BY.get(effect, ())
    ] == []


def test_no_name_is_spelled_as_text_where_a_finding_is_made() -> None:
    spelled = [
        f"{path.relative_to(ROOT)}:{word.value.lineno}"
        for path in (ROOT / "bot").rglob("*.py")
        for word in ast.walk(ast.parse(path.read_text(encoding="utf-8")))
        if isinstance(word, ast.keyword) and word.arg in {"check", "conditions"}
        for part in ast.walk(word.value)
        if isinstance(part, ast.Constant) and part.value in set(CheckName)
    ]
    assert spelled == []


def test_conditions_of_a_check_are_names() -> None:
    assert all(isinstance(name, CheckName) for check in CHECKS for name in check.conditions)


def conditions_in(text: str) -> set[CheckName]:
    """What a module makes a finding of that lasts, where both stand in the call."""
    return {
        CheckName[words["check"].removeprefix("CheckName.")]
        for call in ast.walk(ast.parse(text))
        if isinstance(call, ast.Call)
        and isinstance(call.func, ast.Name)
        and call.func.id == "Finding"
        and (words := {word.arg: ast.unparse(word.value) for word in call.keywords})
        and "Nature.CONDITION" in words["nature"]
        and words["check"].startswith("CheckName.")
    }


@pytest.mark.parametrize("check", CHECKS, ids=lambda check: check.look.__name__)
def test_a_check_names_every_condition_that_it_judges(check: Check) -> None:
    """Where one is left out and the check fails, an alert that still holds is told as resolved."""
    lacking = conditions_in(inspect.getsource(sys.modules[check.look.__module__])) - set(check.conditions)
    assert lacking == set(), f"they belong into conditions= of {check.look.__name__} in bot/checks/__init__.py"


def test_a_condition_is_told_from_what_only_happens() -> None:
    lasts = "Finding(check=CheckName.STALLED, nature=Nature.CONDITION)"
    made = f"{lasts}\nFinding(check=CheckName.LOSS_SPIKE, nature=Nature.OCCURRENCE)"
    assert conditions_in(made) == {CheckName.STALLED}


def stored(check: str) -> Finding:
    base = finding("stalled")
    return decode_finding(encode_finding(base).replace('"check":"stalled"', f'"check":"{check}"'))


@pytest.mark.parametrize("name", CheckName)
def test_a_stored_name_comes_back_as_the_same_name(name: CheckName) -> None:
    assert stored(str(name)).check is name


@pytest.mark.parametrize("text", ["late", "heartbeat", "of_a_newer_version", ""])
def test_a_stored_name_that_this_version_lacks_keeps_its_fingerprint_and_mutes_nothing(text: str) -> None:
    old = stored(text)
    assert isinstance(old.check, ForeignCheck)
    assert old.fingerprint == f"{old.run}/{text}/{old.key}"
    assert decode_finding(encode_finding(old)) == old
    alert = Alert(finding=old, state=AlertState.FIRING, since_ts=NOW, updated_ts=NOW, told=True)
    other = firing(CheckName.STALLED)
    assert inhibit(other, [alert], LIMITS).reason is InhibitReason.FREE
    assert LIMITS.hold_s(old.check, Severity.WARNING, Nature.CONDITION) == LIMITS.hold_warning_s


def test_a_name_reads_as_its_text_everywhere() -> None:
    assert f"{CheckName.STALLED}" == "stalled"
    assert {CheckName.STALLED: 1}["stalled"] == 1  # type: ignore[index]
    assert stored_check("stalled") is CheckName.STALLED
