"""What the bot submits, and that it knows its own job before that has signed in."""

from __future__ import annotations

import subprocess
import time
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path

import pytest

from tests.unit.bot.drivers.slurm.recorded import CONFIG, RUNNING, STOPPED, TASK, as_asked, queue_text
from trainmaster.bot.core.run.facts import ProcessStatus
from trainmaster.bot.core.run.job import EndCause, JobIdentity
from trainmaster.bot.core.run.launch_spec import Force, LaunchSpec
from trainmaster.bot.drivers.slurm.client import SlurmClient
from trainmaster.bot.drivers.slurm.driver import SlurmDriver
from trainmaster.trainer.contract import RUN_VARIABLE, RunLayout
from trainmaster.trainer.jobs.launch_environment import remember

OLD = JobIdentity(id="11", cluster="lab", name="tm-abc")


def row(number: str, state: str, key: str, *, name: str = "tm-abc", reason: str = "None") -> str:
    return f"{number}¦{state}¦{reason}¦0¦{int(time.time())}¦N/A¦N/A¦N/A¦UNLIMITED¦0¦main¦¦lab¦{name}¦trainmaster {key}"


class Cluster:
    """A controller whose queue tests write; ``sbatch`` puts job 12 into it."""

    def __init__(self, *rows: str) -> None:
        self.rows = list(rows)
        self.submitted: Mapping[str, str] | None = None

    def __call__(
        self, argv: Sequence[str], *, input_text: str | None, env: Mapping[str, str], timeout_s: float
    ) -> tuple[int, str, str]:
        if argv[0] == "squeue":
            return 0, as_asked(argv, queue_text(*self.rows)), ""
        assert argv[0] == "sbatch"
        self.submitted = env
        self.rows.append(row("12", "PENDING", "op-1", reason="Priority"))
        return 0, "12;lab\n", ""


def driver_of(folder: Path, cluster: Cluster) -> SlurmDriver:
    return SlurmDriver(folder / "launches", client=SlurmClient(run=cluster), max_age_s=60.0)


def spec(run_dir: Path) -> LaunchSpec:
    env = {"ULTRALYTICS_X": "1", RUN_VARIABLE: str(run_dir)}
    return LaunchSpec(
        key="op-1", argv=("python",), cwd=run_dir, log=run_dir / "log", env=env, run="abc", options=("-p", "main")
    )


@pytest.fixture
def run_dir(tmp_path: Path) -> Path:
    made = tmp_path / "runs" / "digits"
    (made / "guard").mkdir(parents=True)
    return made


def test_job_is_submitted_with_what_the_run_s_own_was_started_with(
    tmp_path: Path, run_dir: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("SLACK_BOT_TOKEN", "xoxb-secret")
    monkeypatch.setenv("WATCHDOG_URL", "http://watch")
    monkeypatch.setenv("SLURM_CONF", "/etc/slurm/slurm.conf")
    remember(RunLayout(run_dir), {"PATH": "/opt/env/bin", "WANDB_API_KEY": "k", "SLURM_CONF": "/run/on-the-node"})
    cluster = Cluster()
    driver_of(tmp_path, cluster).launch(spec(run_dir))
    given = dict(cluster.submitted or {})
    given.pop("PYTHONPATH", None)
    assert given == {"PATH": "/opt/env/bin", "WANDB_API_KEY": "k", "SLURM_CONF": "/etc/slurm/slurm.conf"}


def test_run_that_nobody_saw_started_gets_the_plain_environment(
    tmp_path: Path, run_dir: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("SLACK_BOT_TOKEN", "xoxb-secret")
    monkeypatch.setenv("HOME", "/home/bot")
    cluster = Cluster()
    driver_of(tmp_path, cluster).launch(spec(run_dir))
    assert cluster.submitted is not None
    assert cluster.submitted["HOME"] == "/home/bot"
    assert not any("xoxb" in value for value in cluster.submitted.values())


def test_job_that_the_bot_submitted_is_known_before_its_trainer_signs_in(tmp_path: Path, run_dir: Path) -> None:
    cluster = Cluster(row("11", "FAILED", "op-0"))
    driver = driver_of(tmp_path, cluster)
    assert driver.next_start("abc", OLD) is None
    driver.launch(spec(run_dir))
    for one in (driver, driver_of(tmp_path, cluster)):  # a bot that was started anew knows it too
        fact = one.next_start("abc", OLD)
        assert fact is not None
        assert fact.status is ProcessStatus.PENDING
        assert fact.job is not None
        assert (fact.job.id, fact.job.reason) == ("12", "Priority")


@pytest.mark.parametrize(
    "stranger",
    [
        pytest.param(row("13", "PENDING", "op-9"), id="of a launch that is not the bot's"),
        pytest.param(row("13", "PENDING", "op-1"), id="with the bot's key and another number"),
        pytest.param(row("13", "PENDING", "op-1", name="tm-other"), id="of another run"),
    ],
)
def test_job_that_only_looks_like_ours_is_none(tmp_path: Path, run_dir: Path, stranger: str) -> None:
    cluster = Cluster()
    driver_of(tmp_path, cluster).launch(spec(run_dir))
    cluster.rows = [stranger]
    assert driver_of(tmp_path, cluster).next_start("abc", OLD) is None


def test_who_only_looks_believes_the_name_of_a_job(tmp_path: Path) -> None:
    cluster = Cluster(row("13", "PENDING", "op-9"), row("14", "PENDING", "op-9", name="tm-other"))
    driver = SlurmDriver(tmp_path, client=SlurmClient(run=cluster), only_looks=True)
    fact = driver.next_start("abc", OLD)
    assert fact is not None
    assert fact.job is not None
    assert fact.job.id == "13"
    assert driver.next_start("nobody", OLD) is None


def test_job_that_has_signed_in_or_is_over_is_no_next_one(tmp_path: Path, run_dir: Path) -> None:
    cluster = Cluster()
    driver = driver_of(tmp_path, cluster)
    new = driver.launch(spec(run_dir))
    assert driver.next_start("abc", new) is None
    cluster.rows = [row("12", "CANCELLED", "op-1")]
    assert driver_of(tmp_path, cluster).next_start("abc", OLD) is None


class Hearing(Cluster):
    """Also keeps whom ``scancel`` was told to end."""

    def __init__(self, *rows: str) -> None:
        super().__init__(*rows)
        self.ended: list[str] = []
        self.words: list[str] = []
        self.denied: set[str] = set()
        self.answers: dict[str, tuple[int, str, str] | None] = {"squeue": (0, "", ""), "srun": (0, "", "")}

    def __call__(
        self, argv: Sequence[str], *, input_text: str | None, env: Mapping[str, str], timeout_s: float
    ) -> tuple[int, str, str]:
        if argv[0] == "srun" or "-s" in argv:
            if (answer := self.answers[argv[0]]) is None:
                raise subprocess.TimeoutExpired(argv[0], timeout_s)
            return answer
        if argv[0] != "scancel":
            return super().__call__(argv, input_text=input_text, env=env, timeout_s=timeout_s)
        self.ended.append(argv[-1])
        self.words += argv[1:-1]
        if argv[-1] in self.denied:
            return 1, "", f"scancel: error: Kill job error on job id {argv[-1]}: Access/permission denied"
        return 0, "", ""


@pytest.mark.parametrize(("rows", "address"), [(TASK, "7_3"), (RUNNING.replace("1¦", "7¦", 1), "7")])
def test_stop_of_an_array_s_last_task_leaves_the_others_alone(tmp_path: Path, rows: str, address: str) -> None:
    """The number of that task is the array's: by it, scancel would end every task."""
    cluster = Hearing(rows)
    driver = driver_of(tmp_path, cluster)
    for force in Force:
        assert driver.stop(JobIdentity(id="7"), force)
    assert set(cluster.ended) == {address}


def test_job_that_began_since_the_last_look_is_asked_and_not_cancelled(tmp_path: Path) -> None:
    """Cancelled, it would be killed after KillWait, amid its save."""
    cluster = Hearing(row("11", "PENDING", "op-0"))
    driver = driver_of(tmp_path, cluster)
    assert driver.inspect(OLD).status is ProcessStatus.PENDING
    cluster.rows = [row("11", "RUNNING", "op-0")]
    assert driver.stop(OLD, Force.ASK)
    assert cluster.words == ["--signal=TERM", "--batch"]


def test_job_whose_trainer_has_signed_in_since_the_last_look_waits_no_more(tmp_path: Path) -> None:
    cluster = Cluster(row("11", "PENDING", "op-0"))
    driver = driver_of(tmp_path, cluster)
    assert driver.inspect(OLD).status is ProcessStatus.PENDING
    cluster.rows = [row("11", "RUNNING", "op-0")]
    assert driver.inspect(replace(OLD, started_ts=time.time() - 60)).status is ProcessStatus.PENDING
    assert driver.inspect(replace(OLD, started_ts=time.time() + 1)).status is ProcessStatus.ALIVE


@pytest.mark.parametrize("denied", [False, True], ids=["of the bot's user", "of somebody who gave it that name"])
def test_stop_takes_out_what_waits_for_the_same_run_before_that_could_start(tmp_path: Path, denied: bool) -> None:
    """As of a chain of jobs against a short time limit: the next one starts in the moment in which this one ends."""
    cluster = Hearing(
        row("11", "RUNNING", "op-0"),
        row("12", "PENDING", "sbatch-1", reason="Dependency"),
        row("13", "PENDING", "sbatch-2", name="tm-other"),
        row("14", "FAILED", "sbatch-3"),
    )
    cluster.denied = {"12"} if denied else set()
    assert driver_of(tmp_path, cluster).stop(OLD, Force.ASK)
    assert cluster.ended == ["12", "11"]


REFUSED = (1, "", "srun: error: Unable to create step for job 7: Job/step already completing or completed")


@pytest.mark.parametrize(
    ("steps", "srun", "words"),
    [
        pytest.param("7.batch\n7.0\n", (1, "", ""), ["--signal=TERM"], id="a step of srun's, alone"),
        pytest.param("7.batch\n7.extern\n", (0, "", "srun: error: mpi/pmix"), [], id="by the node, all but the shell"),
        pytest.param("", REFUSED, ["--signal=TERM", "--full"], id="no step to be had"),
        pytest.param("", (1, "", "srun: error: task 0: Exited"), ["--signal=TERM", "--full"], id="nobody found there"),
        pytest.param("", None, [], id="no answer in time: it may have arrived"),
    ],
)
def test_trainer_in_a_person_s_own_script_is_asked_once_and_its_shell_is_not(
    tmp_path: Path, steps: str, srun: tuple[int, str, str] | None, words: list[str]
) -> None:
    cluster = Hearing(RUNNING.replace("1¦", "7¦", 1))
    cluster.answers = {"squeue": (0, steps, ""), "srun": srun}
    assert driver_of(tmp_path, cluster).stop(JobIdentity(id="7"), Force.ASK)
    assert cluster.words == words


def test_how_a_job_ended_is_known_on_when_slurm_has_forgotten_it(tmp_path: Path) -> None:
    cluster = Cluster(STOPPED)
    driver = driver_of(tmp_path, cluster)
    job = JobIdentity(id="11", cluster="lab", name="tm-abc")
    assert driver.inspect(job).exit_code == 3
    cluster.rows = []
    driver.queue.hasten()
    assert driver.inspect(job).exit_code == 3


class Remembering(Cluster):
    """Also has an accounting, which says ``memory``, or nothing at all."""

    def __init__(self, memory: str | None, *rows: str) -> None:
        super().__init__(*rows)
        self.memory = memory
        self.num_asked = 0

    def __call__(
        self, argv: Sequence[str], *, input_text: str | None, env: Mapping[str, str], timeout_s: float
    ) -> tuple[int, str, str]:
        if argv[0] == "scontrol":
            return 0, CONFIG.replace("accounting_storage/none", "accounting_storage/slurmdbd"), ""
        if argv[0] != "sacct":
            return super().__call__(argv, input_text=input_text, env=env, timeout_s=timeout_s)
        self.num_asked += 1
        if self.memory is None:
            return 1, "", "sacct: error: Sending PersistInit msg: Connection refused"
        return 0, self.memory, ""


LOST = "11|NODE_FAIL|0:0|1795891609|1795891612|1795891612|1-00:00:00|main|n1|tm-abc\n"


@pytest.mark.parametrize("first", [None, LOST.replace("NODE_FAIL", "RUNNING")], ids=["no answer", "it is late"])
def test_end_that_the_accounting_did_not_tell_is_asked_for_again_and_not_at_each_look(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, first: str | None
) -> None:
    cluster = Remembering(first)
    driver = driver_of(tmp_path, cluster)
    assert {driver.inspect(OLD).job for _ in range(3)} == {None}
    assert cluster.num_asked == 1
    monkeypatch.setattr("trainmaster.bot.drivers.slurm.driver._ACCOUNTING_RETRY_S", 0.0)
    driver = driver_of(tmp_path, cluster)
    assert driver.inspect(OLD).status is ProcessStatus.GONE
    cluster.memory = LOST
    job = driver.inspect(OLD).job
    assert job is not None
    assert job.cause is EndCause.NODE_FAIL


def test_job_of_a_cluster_that_is_not_asked_is_unknown_and_never_over(tmp_path: Path) -> None:
    """As where two clusters share a disk: the other's queue is read by another bot."""
    driver = driver_of(tmp_path, Remembering("", row("11", "RUNNING", "op-9", name="other")))
    fact = driver.inspect(replace(OLD, cluster="elsewhere"))
    assert fact.status is ProcessStatus.UNKNOWN
    assert "elsewhere" in fact.detail
    assert driver.inspect(replace(OLD, cluster="LAB", id="12")).status is ProcessStatus.GONE
