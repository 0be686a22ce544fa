"""Slurm's commands: what is an answer, and that one look serves all runs."""

from __future__ import annotations

import subprocess
import threading
import time
from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor

import pytest

from tests.support.slurm import until
from tests.unit.bot.drivers.slurm import recorded
from tests.unit.bot.drivers.slurm.recorded import as_asked, queue_text
from trainmaster.bot.drivers.slurm.client import SlurmClient, slurm_environment
from trainmaster.bot.drivers.slurm.queue import BRIDGE_S, RETRY_S, JobQueue
from trainmaster.bot.drivers.slurm.rows import FIELD_END, ROW_END, JobRow
from trainmaster.bot.errors import ClusterSilentError, DriverError

DOWN = "slurm_load_jobs error: Unable to contact slurm controller (connect failure)"


class Commands:
    """Answers as told, and keeps what was asked."""

    def __init__(self, code: int = 0, out: str = "", err: str = "", error: Exception | None = None) -> None:
        self.asked: list[tuple[str, ...]] = []
        self.script: str | None = None
        self._answer = (code, out, err)
        self._error = error

    def __call__(
        self, argv: Sequence[str], *, input_text: str | None, env: Mapping[str, str], timeout_s: float
    ) -> tuple[int, str, str]:
        self.asked.append(tuple(argv))
        self.script = input_text
        if self._error is not None:
            raise self._error
        code, out, err = self._answer
        return code, as_asked(argv, out), err


def test_queue_is_read_by_one_command() -> None:
    commands = Commands(out=queue_text(recorded.RUNNING, recorded.STOPPED))
    assert [row.id for row in SlurmClient(run=commands).queue()] == ["1", "11"]
    assert [argv[0] for argv in commands.asked] == ["squeue"]


@pytest.mark.parametrize(
    "commands",
    [
        pytest.param(Commands(1, err=DOWN), id="controller down"),
        pytest.param(Commands(0, out=queue_text(), err=DOWN), id="controller down, a heading and exit code 0"),
        pytest.param(Commands(error=subprocess.TimeoutExpired("squeue", 15)), id="hangs"),
        pytest.param(Commands(error=FileNotFoundError(2, "No such file or directory")), id="not installed"),
    ],
)
def test_no_answer_is_silence_and_never_an_empty_queue(commands: Commands) -> None:
    with pytest.raises(ClusterSilentError):
        SlurmClient(run=commands).queue()


@pytest.mark.parametrize(
    "commands",
    [
        pytest.param(
            Commands(0, err="squeue: error: Invalid job format specification: exit_code"), id="another version"
        ),
        pytest.param(Commands(1, err="squeue: error: Invalid user: 4711"), id="refused"),
    ],
)
def test_refusal_is_told_in_slurm_s_own_words(commands: Commands) -> None:
    with pytest.raises(DriverError, match="Invalid") as caught:
        SlurmClient(run=commands).queue()
    assert not isinstance(caught.value, ClusterSilentError)


def test_submission_answers_its_number_and_a_refusal_its_reason() -> None:
    commands = Commands(out="4711;lab\n")
    assert SlurmClient(run=commands).submit("#!/bin/sh\n", ["--partition=gpu"], {}) == "4711"
    assert commands.asked == [("sbatch", "--parsable", "--partition=gpu")]
    assert commands.script == "#!/bin/sh\n"


def test_complaint_of_a_plugin_beside_a_job_s_number_is_no_refusal() -> None:
    commands = Commands(out="4711\n", err="sbatch: error: spank: x11.so: Plugin file not found")
    assert SlurmClient(run=commands).submit("#!/bin/sh\n", [], {}) == "4711"


@pytest.mark.parametrize("out", ["", "budget left: 120 h\n"])
def test_answer_without_a_number_is_none_since_the_job_may_be_there(out: str) -> None:
    with pytest.raises(ClusterSilentError, match="no job's number"):
        SlurmClient(run=Commands(out=out)).submit("#!/bin/sh\n", [], {})
    refused = Commands(1, err="sbatch: error: Batch job submission failed: Invalid account or account/partition")
    with pytest.raises(DriverError, match="Invalid account"):
        SlurmClient(run=refused).submit("", [], {})


@pytest.mark.parametrize("said", ["Invalid job id specified", "Job/step already completing or completed"])
def test_job_that_ended_meanwhile_is_no_refusal_of_its_end(said: str) -> None:
    over = Commands(1, err=f"scancel: error: Kill job error on job id 10: {said}")
    for end in (SlurmClient(run=over).cancel, SlurmClient(run=over).kill, SlurmClient(run=over).ask_to_end):
        end("10")


@pytest.mark.parametrize(("said", "error"), [("Access/permission denied", DriverError), (DOWN, ClusterSilentError)])
def test_end_that_was_refused_or_not_heard_is_told(said: str, error: type[DriverError]) -> None:
    with pytest.raises(error):
        SlurmClient(run=Commands(1, err=f"scancel: error: {said}")).cancel("10")


def test_habits_of_a_person_and_another_job_change_no_question() -> None:
    found = slurm_environment(
        {"PATH": "/bin", "SQUEUE_FORMAT": "%i", "SLURM_JOB_ID": "7", "SLURM_CONF": "/etc/slurm.conf"}
    )
    assert found == {"PATH": "/bin", "SLURM_CONF": "/etc/slurm.conf", "LC_ALL": "C", "SLURM_TIME_FORMAT": "%s"}


class Steady:
    """A clock that tests set."""

    def __init__(self) -> None:
        self.now_s = 100.0

    def __call__(self) -> float:
        return self.now_s


class Controller:
    """Counts how often it was asked; ``silent`` answers nobody."""

    def __init__(self) -> None:
        self.asked = 0
        self.gate = threading.Event()
        self.gate.set()
        self.error: DriverError | None = None

    def __call__(self) -> tuple[JobRow, ...]:
        self.asked += 1
        self.gate.wait(10)
        if self.error is not None:
            raise self.error
        return (JobRow(id=str(self.asked), state="RUNNING"),)


def test_hundred_runs_ask_once() -> None:
    controller = Controller()
    queue = JobQueue(controller)
    controller.gate.clear()
    with ThreadPoolExecutor(20) as pool:
        looks = [pool.submit(queue.look) for _ in range(100)]
        controller.gate.set()
        assert {look.result().rows[0].id for look in looks} == {"1"}
    assert controller.asked == 1


def test_look_is_repeated_when_it_is_old_and_after_something_was_done() -> None:
    controller, steady = Controller(), Steady()
    queue = JobQueue(controller, max_age_s=5, steady=steady)
    assert [queue.look().rows[0].id for _ in range(3)] == ["1", "1", "1"]
    steady.now_s += 6
    assert queue.look().rows[0].id == "2"
    steady.now_s += 0.1
    queue.hasten()
    assert queue.look().rows[0].id == "3"
    steady.now_s += 1
    assert queue.look().rows[0].id == "4"


def test_controller_that_hangs_is_silent_and_keeps_nobody_waiting() -> None:
    controller = Controller()
    queue = JobQueue(controller, wait_s=0.05)
    controller.gate.clear()
    try:
        assert "has not answered" in queue.look().fault
        assert queue.silence() is not None
        assert queue.look().rows == ()
        assert controller.asked == 1
    finally:
        controller.gate.set()


def test_controller_that_is_always_slower_than_the_wait_is_heard_though_something_is_awaited() -> None:
    """As with a queue of a hundred thousand jobs: what was asked before somebody wants to know does not count."""

    def ask() -> tuple[JobRow, ...]:
        time.sleep(0.8)
        return ()

    queue = JobQueue(ask, wait_s=0.3)
    queue.hasten()
    until(lambda: not queue.look().fault, what="an answer", timeout_s=5, every_s=0.01)
    queue.hasten()
    assert not queue.look().fault


def test_fault_is_remembered_for_a_moment_and_ends_with_the_next_answer() -> None:
    controller, steady = Controller(), Steady()
    controller.error = ClusterSilentError("cluster-silent", "squeue: down.")
    queue = JobQueue(controller, max_age_s=5, steady=steady)
    assert queue.look().fault == queue.look().fault == "squeue: down."
    assert controller.asked == 1
    assert queue.silence() is not None
    controller.error = None
    steady.now_s += 6
    assert queue.look().fault == ""
    assert queue.silence() is None


def test_silence_counts_from_the_first_question_without_an_answer_by_a_clock_that_nobody_sets() -> None:
    controller, steady = Controller(), Steady()
    controller.error = ClusterSilentError("cluster-silent", "squeue: down.")
    queue = JobQueue(controller, max_age_s=5, steady=steady)
    queue.look()
    steady.now_s += 7
    queue.look()
    silence = queue.silence()
    assert silence is not None
    assert (silence.for_s, silence.said) == (7.0, "squeue: down.")


def test_silent_controller_is_asked_again_though_nobody_looks() -> None:
    controller, steady = Controller(), Steady()
    controller.error = ClusterSilentError("cluster-silent", "squeue: down.")
    queue = JobQueue(controller, max_age_s=5, steady=steady)
    queue.look()
    controller.error = None
    steady.now_s += RETRY_S
    until(lambda: queue.silence() is None, what="the answer", timeout_s=5, every_s=0.01)
    assert controller.asked == 2


def test_answering_controller_is_asked_by_nobody_who_asks_for_silence() -> None:
    controller, steady = Controller(), Steady()
    queue = JobQueue(controller, max_age_s=5, steady=steady)
    queue.look()
    steady.now_s += 60
    assert queue.silence() is None
    assert controller.asked == 1


def test_queue_read_a_moment_ago_bridges_an_answer_that_is_lost() -> None:
    controller, steady = Controller(), Steady()
    queue = JobQueue(controller, max_age_s=5, steady=steady)
    read = queue.look()
    controller.error = ClusterSilentError("cluster-silent", "squeue: down.")
    steady.now_s += 6
    assert queue.look() == read
    steady.now_s += BRIDGE_S
    assert queue.look().fault == "squeue: down."


def test_nothing_that_was_read_before_an_act_bridges_the_silence_after_it() -> None:
    controller, steady = Controller(), Steady()
    queue = JobQueue(controller, max_age_s=5, steady=steady)
    queue.look()
    controller.error = ClusterSilentError("cluster-silent", "squeue: down.")
    steady.now_s += 1
    queue.hasten()
    assert queue.look().fault == "squeue: down."


def test_nothing_bridges_a_silence_while_an_act_is_awaited() -> None:
    controller, steady = Controller(), Steady()
    queue = JobQueue(controller, max_age_s=5, steady=steady)
    queue.hasten()
    assert queue.look().fault == ""
    controller.error = ClusterSilentError("cluster-silent", "squeue: down.")
    steady.now_s += 1
    assert queue.look().fault == "squeue: down."


def test_answer_that_took_longer_than_it_may_be_kept_is_an_answer() -> None:
    """On a loaded host every one does."""
    steady = Steady()

    def slow() -> tuple[JobRow, ...]:
        steady.now_s += 2.0
        return (JobRow(id="1", state="RUNNING"),)

    queue = JobQueue(slow, steady=steady)
    queue.hasten()
    assert [row.id for row in queue.look().rows] == ["1"]
    assert queue.silence() is None


def test_no_name_or_comment_of_another_user_can_be_taken_for_a_row() -> None:
    """Anybody on the cluster chooses those of their own jobs, control characters included."""
    forged = recorded.STOPPED.replace("¦", FIELD_END) + ROW_END
    asked: list[str] = []

    def squeue(argv: Sequence[str], **_: object) -> tuple[int, str, str]:
        asked.append(argv[-1])
        text = as_asked(argv, queue_text(recorded.RUNNING, recorded.TASK))
        return 0, text.replace("tm-run a,b", f"a{FIELD_END}b").replace("(null)", f"x{ROW_END}\n{forged}"), ""

    client = SlurmClient(run=squeue)
    assert [(row.id, row.name) for row in client.queue()] == [("1", f"a{FIELD_END}b"), ("7", "job.sh")]
    client.queue()
    assert asked[0] != asked[1]


def test_jobs_of_partitions_that_are_hidden_from_the_bot_s_user_are_asked_for() -> None:
    commands = Commands(out=queue_text())
    SlurmClient(run=commands).queue()
    assert "--all" in commands.asked[0]


@pytest.mark.parametrize(
    "said",
    [
        pytest.param("Batch job submission failed: Unexpected message received", id="it may have arrived"),
        pytest.param("fetch_config failed\nsbatch: fatal: Could not establish a configuration source", id="configless"),
        pytest.param('slurm_set_addr: Unable to resolve "ctl"', id="no name is resolved"),
    ],
)
def test_submission_that_nobody_answered_is_no_refusal(said: str) -> None:
    with pytest.raises(ClusterSilentError):
        SlurmClient(run=Commands(1, err=f"sbatch: error: {said}")).submit("#!/bin/sh\n", [], {})
