"""A trainer that is gone: how it ended, and what it left behind."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest

from tests.support.run_dirs import START_TS, WrittenRun
from tests.unit.conftest import Look
from trainmaster.bot.checks import CheckLimits
from trainmaster.bot.checks.process import check_process
from trainmaster.bot.core.alerts.finding import Severity
from trainmaster.bot.core.run.facts import LogError, OomEvidence, ProcessStatus
from trainmaster.trainer.contract import RunRecordState

LIMITS = CheckLimits()
NOW = START_TS + 100


@pytest.mark.parametrize(
    ("process", "words"),
    [
        pytest.param({"signal": 9}, "signal 9, SIGKILL: perhaps by the kernel's out-of-memory", id="killed"),
        pytest.param({"signal": 9, "oom": OomEvidence.NONE}, "not by the out-of-memory killer", id="killed by hand"),
        pytest.param({"signal": 9, "oom": OomEvidence.OWN_GROUP}, "killer ended it", id="killed in its group"),
        pytest.param({"signal": 9, "oom": OomEvidence.HOST}, "Most likely the kernel's", id="killed on the host"),
        pytest.param({"oom": OomEvidence.HOST}, "Most likely the kernel's", id="a stranger, and the killer at work"),
        pytest.param({"oom": OomEvidence.NONE}, "killer was not at work", id="a stranger, and the killer not"),
        pytest.param({"signal": 11, "oom": OomEvidence.HOST}, "signal 11, SIGSEGV.", id="a segmentation fault is none"),
        pytest.param({"exit_code": 1}, "exit code 1;", id="exit code"),
        pytest.param({"exit_code": 137}, "exit code 137 (as a shell tells SIGKILL)", id="a shell's exit code"),
        pytest.param({}, "not known", id="unknown"),
    ],
)
def test_a_dead_process_is_told_with_how_it_ended(
    written: WrittenRun, look: Look, process: dict[str, Any], words: str
) -> None:
    written.beat(50, epoch=1, batch=7)
    (found,) = check_process(look(status=ProcessStatus.GONE, **process), LIMITS, NOW)
    assert "died at epoch 1, batch 7" in found.title
    assert words in found.body[0]


@pytest.mark.parametrize(
    ("batch", "words"),
    [(None, "died at epoch 3"), (0, "died at epoch 3, batch 0"), (1040, "died at epoch 3, batch 1,040")],
)
def test_where_it_died_is_told_as_far_as_it_is_known(
    written: WrittenRun, look: Look, batch: int | None, words: str
) -> None:
    written.beat(50, epoch=3, batch=7)
    view = look(status=ProcessStatus.GONE)
    assert view.heartbeat is not None
    (found,) = check_process(replace(view, heartbeat=replace(view.heartbeat, batch=batch)), LIMITS, NOW)
    assert found.title.endswith(words)


@pytest.mark.parametrize(
    ("process", "told"),
    [
        pytest.param({"signal": 9, "rss_gib": 61.5}, True, id="killed"),
        pytest.param({"rss_gib": 61.5}, True, id="nobody knows"),
        pytest.param({"signal": 15, "rss_gib": 61.5}, False, id="asked to end"),
        pytest.param({"oom": OomEvidence.NONE, "rss_gib": 61.5}, False, id="memory was not it"),
    ],
)
def test_memory_is_told_when_it_may_be_the_reason(
    written: WrittenRun, look: Look, process: dict[str, Any], told: bool
) -> None:
    written.beat(50, epoch=1, batch=7, memory_gib=22.0)
    (found,) = check_process(look(status=ProcessStatus.GONE, **process), LIMITS, NOW)
    assert (("Memory at the last look", "61.5 GiB main, 22.0 GiB GPU") in found.fields) is told


@pytest.mark.parametrize(
    ("status", "words"),
    [
        pytest.param(ProcessStatus.REPLACED, "now belongs to another process", id="replaced"),
        pytest.param(ProcessStatus.ZOMBIE, "a zombie", id="zombie"),
    ],
)
def test_a_process_that_is_no_longer_itself_has_died(
    written: WrittenRun, look: Look, status: ProcessStatus, words: str
) -> None:
    written.beat(50, epoch=1, batch=7)
    (found,) = check_process(look(status=status), LIMITS, NOW)
    assert words in found.body[0]


@pytest.mark.parametrize("status", [ProcessStatus.ALIVE, ProcessStatus.UNKNOWN])
def test_a_process_that_lives_or_cannot_be_seen_has_not_died(
    written: WrittenRun, look: Look, status: ProcessStatus
) -> None:
    assert check_process(look(status=status), LIMITS, NOW) == ()


@pytest.mark.parametrize("state", list(RunRecordState))
def test_what_outlived_the_training_is_told_however_it_ended(
    written: WrittenRun, look: Look, state: RunRecordState
) -> None:
    written.record(state=state)
    found = {one.check: one for one in check_process(look(status=ProcessStatus.GONE, orphans=(12, 13)), LIMITS, NOW)}
    assert found["orphans"].severity is Severity.WARNING
    assert "2 processes outlived" in found["orphans"].title
    assert "details have the command" in found["orphans"].body[1]
    assert ("On the host", "kill 12 13") in found["orphans"].fields


def test_children_of_a_living_process_are_no_orphans(written: WrittenRun, look: Look) -> None:
    assert check_process(look(orphans=(12,)), LIMITS, NOW) == ()


@pytest.mark.parametrize("outlived", [False, True], ids=["the last word", "training went on after it"])
def test_what_its_log_says_is_told_unless_training_went_on_after_it(
    written: WrittenRun, look: Look, *, outlived: bool
) -> None:
    written.beat(50, epoch=1, batch=7)
    error = LogError(
        ts=NOW, kind="exception", detail="KeyError", text="KeyError", in_child=False, digest="d", outlived=outlived
    )
    view = replace(look(status=ProcessStatus.GONE, signal=9), log_errors=(error,))
    (found,) = check_process(view, LIMITS, NOW)
    assert ("Its log says: KeyError" in found.body) is not outlived
