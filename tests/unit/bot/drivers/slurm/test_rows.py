"""What Slurm's commands print, as recorded."""

from __future__ import annotations

import pytest

from tests.unit.bot.drivers.slurm import recorded
from tests.unit.bot.drivers.slurm.recorded import queue_text
from trainmaster.bot.drivers.slurm.rows import parse_config, parse_memory, parse_queue
from trainmaster.bot.errors import DriverError


def test_row_is_read_whole_whatever_a_name_or_comment_holds() -> None:
    (row,) = parse_queue(queue_text(recorded.RUNNING))
    assert (row.id, row.state, row.restarts, row.node) == ("1", "RUNNING", 0, "n1")
    assert (row.name, row.comment) == ("tm-run a,b", "trainmaster op-1|x")
    assert (row.submit_ts, row.start_ts, row.end_ts) == (1795891219.0, 1795891220.0, 1795891820.0)
    assert row.limit_s == 600.0


@pytest.mark.parametrize(
    ("said", "limit_s"),
    [("7-00:00:00", 604_800.0), ("1:30:00", 5400.0), ("0:30", 30.0), ("UNLIMITED", None), ("INVALID", None)],
)
def test_time_limit_is_told_in_seconds(said: str, limit_s: float | None) -> None:
    (row,) = parse_queue(queue_text(recorded.RUNNING.replace("10:00", said)))
    assert row.limit_s == limit_s


def test_task_of_an_array_has_a_name_of_its_own() -> None:
    alone, task = parse_queue(queue_text(recorded.RUNNING, recorded.TASK))
    assert (alone.id, alone.task) == ("1", None)
    assert (task.id, task.task) == ("7", "7_3")


def test_reason_keeps_its_comma_and_an_unknown_time_is_none() -> None:
    (row,) = parse_queue(queue_text(recorded.COMMA))
    assert row.reason == "ReqNodeNotAvail, UnavailableNodes:n3"
    assert row.start_ts is None
    assert row.comment == ""


@pytest.mark.parametrize(
    ("text", "code", "signum"),
    [
        pytest.param(recorded.STOPPED, 3, None, id="exit code 3 is 768"),
        pytest.param(recorded.KILLED, None, 9, id="a signal"),
        pytest.param(recorded.KILLED.replace("¦9¦", "¦125¦"), None, None, id="Slurm's own for out of memory"),
        pytest.param(recorded.COMPLETED, 0, None, id="none"),
        pytest.param(recorded.COMPLETED.replace("¦0¦main", "¦4294967294¦main"), None, None, id="Slurm's own for none"),
    ],
)
def test_exit_code_of_the_queue_is_a_wait_status(text: str, code: int | None, signum: int | None) -> None:
    (row,) = parse_queue(queue_text(text))
    assert (row.exit_code, row.signal) == (code, signum)


def test_empty_queue_is_an_answer_by_its_heading() -> None:
    assert parse_queue(queue_text()) == ()


@pytest.mark.parametrize("text", ["", "\n", " \n\n"])
def test_nothing_at_all_is_no_answer_whatever_the_exit_code(text: str) -> None:
    with pytest.raises(DriverError, match="something else"):
        parse_queue(text)


def test_what_a_site_says_before_the_queue_is_no_part_of_it_unless_it_is_an_error() -> None:
    rows = parse_queue("Maintenance on Monday\n\n" + queue_text(recorded.RUNNING))
    assert [row.id for row in rows] == ["1"]
    assert parse_queue("(cached)\n" + queue_text()) == ()
    with pytest.raises(DriverError, match="something else"):
        parse_queue("slurm_load_jobs error: Unable to contact slurm controller\n" + queue_text())


def test_comment_that_holds_what_ends_a_field_is_its_own() -> None:
    rows = parse_queue(queue_text(recorded.RUNNING, recorded.STOPPED, f"{recorded.TASK}¦more"))
    assert [row.id for row in rows] == ["1", "11", "7"]


def test_comment_of_several_lines_is_part_of_its_row() -> None:
    rows = parse_queue(queue_text(recorded.RUNNING + "\nsecond line", recorded.STOPPED))
    assert [row.id for row in rows] == ["1", "11"]


@pytest.mark.parametrize(
    "text",
    [
        pytest.param("slurm_load_jobs error: Unable to contact slurm controller\n", id="an error"),
        pytest.param(queue_text("1¦RUNNING¦None"), id="too few fields"),
        pytest.param(queue_text(recorded.RUNNING.replace("1¦", "x¦", 1)), id="no number"),
        pytest.param('{"jobs": []}', id="json"),
        pytest.param(queue_text(recorded.RUNNING, recorded.STOPPED)[:-5], id="cut off in the last comment"),
    ],
)
def test_anything_else_is_no_empty_queue(text: str) -> None:
    with pytest.raises(DriverError, match="something else"):
        parse_queue(text)


def test_memory_of_a_cancelled_job_has_the_exit_code_of_its_batch_step() -> None:
    rows = {row.id: row for row in parse_memory(recorded.MEMORY)}
    assert (rows["2"].state, rows["2"].exit_code) == ("CANCELLED", 3)
    assert (rows["4"].exit_code, rows["4"].signal, rows["4"].name) == (None, 9, "a|name")


def test_memory_tells_every_start_of_a_job_newest_last() -> None:
    starts = [row for row in parse_memory(recorded.MEMORY) if row.id == "5"]
    assert [row.state for row in starts] == ["REQUEUED", "PENDING"]
    assert starts[-1].start_ts is None


def test_memory_without_a_state_is_read_all_the_same() -> None:
    (row,) = parse_memory("7||0:0|1795891609|Unknown|Unknown||main|None assigned|term.sh\n")
    assert row.state == ""


def test_odd_memory_is_refused() -> None:
    with pytest.raises(DriverError):
        parse_memory("Slurm accounting storage is disabled\n")


def test_config_tells_times_accounting_and_version() -> None:
    config = parse_config(recorded.CONFIG)
    assert (config.name, config.version, config.kill_wait_s, config.min_job_age_s) == ("lab", "22.05.8", 30.0, 300.0)
    assert (config.requeues, config.accounting, config.hides_jobs) == (True, False, False)
    assert parse_config(recorded.CONFIG.replace("= none", "= jobs,users")).hides_jobs
    with pytest.raises(DriverError):
        parse_config("nothing")
