"""Slurm's commands, each with a time-out. Blocking: call it in a thread.

Not submitit, which wraps the trainer in ``srun`` and keeps SIGTERM from it; not pyslurm, which is tied to one release;
not slurmrestd, which few sites run.
"""

from __future__ import annotations

import math
import os
import secrets
import shutil
import subprocess
from collections.abc import Mapping, Sequence
from typing import Final, Protocol

from trainmaster.bot.drivers.slurm.rows import (
    MEMORY_FIELDS,
    ClusterConfig,
    JobRow,
    parse_config,
    parse_memory,
    parse_queue,
    queue_format,
)
from trainmaster.bot.errors import ClusterSilentError, DriverError
from trainmaster.trainer.jobs.submission import may_have_arrived, submitted

TIMEOUT_S: Final = 15.0
"""A controller that is down makes ``squeue`` and ``sbatch`` give up by themselves after 9 s; one that hangs never."""

KEPT_NAMES: Final = ("SLURM_CONF", "SLURM_CONF_SERVER")
_FOREIGN: Final = ("SLURM_", "SBATCH_", "SQUEUE_", "SACCT_", "SCANCEL_", "SALLOC_", "SRUN_")
"""A bot that itself runs in a job, or a person's habits for their own terminal, must not change what is asked."""


def slurm_environment(base: Mapping[str, str]) -> dict[str, str]:
    """``base`` such that Slurm's commands speak English, tell times as seconds and do only what they are asked."""
    return {**without_jobs(base), "LC_ALL": "C", "SLURM_TIME_FORMAT": "%s"}


def without_jobs(base: Mapping[str, str]) -> dict[str, str]:
    """``base`` without what another job, or a person's habits, put there."""
    return {name: value for name, value in base.items() if name in KEPT_NAMES or not name.startswith(_FOREIGN)}


class Runner(Protocol):
    """Runs a command to its end."""

    def __call__(
        self, argv: Sequence[str], *, input_text: str | None, env: Mapping[str, str], timeout_s: float
    ) -> tuple[int, str, str]:
        """Exit code, output, error output.

        Raises:
            OSError: it could not be started.
            subprocess.TimeoutExpired: it took longer and was ended.
        """
        ...


def run_command(
    argv: Sequence[str], *, input_text: str | None, env: Mapping[str, str], timeout_s: float
) -> tuple[int, str, str]:
    """The one that implements :class:`Runner`. The program is this host's, whatever PATH ``env`` has."""
    done = subprocess.run(
        [shutil.which(argv[0]) or argv[0], *argv[1:]],
        input=os.fsencode(input_text) if input_text is not None else None,  # a script may name a folder by any bytes
        stdin=None if input_text is not None else subprocess.DEVNULL,
        capture_output=True,
        env=dict(env),
        timeout=timeout_s,
        check=False,
    )
    return done.returncode, done.stdout.decode(errors="replace"), done.stderr.decode(errors="replace")


class SlurmClient:
    """The cluster that SLURM_CONF names. Every method raises :class:`ClusterSilentError` when it gave no answer, and a
    plain :class:`DriverError` with Slurm's own words when it refused."""

    def __init__(self, *, run: Runner = run_command, timeout_s: float = TIMEOUT_S) -> None:
        self._run = run
        self._timeout_s = timeout_s

    def queue(self) -> tuple[JobRow, ...]:
        """All jobs that the controller remembers, those that ended within MinJobAge too, and with ``--all`` those of
        partitions that are hidden or closed to the bot's user."""
        word = secrets.token_hex(4)
        out = self._answer("squeue", "--all", "--states=all", f"--Format={queue_format(word)}")
        return parse_queue(out, word)

    def remembered(self, job_id: str) -> tuple[JobRow, ...]:
        """What the accounting knows of the number, every start of it, oldest first; none where it knows nothing.

        Raises:
            DriverError: there is no accounting.
        """
        return self._memory("-j", job_id)

    def remembered_by_name(self, name: str, *, since_s: float) -> tuple[JobRow, ...]:
        """As :meth:`remembered`, by the name of jobs of the last ``since_s``."""
        return self._memory("--name", name, "-S", f"now-{max(1, math.ceil(since_s / 60))}minutes")

    def _memory(self, *words: str) -> tuple[JobRow, ...]:
        return parse_memory(self._answer("sacct", "-P", "-n", "-D", *words, "-o", ",".join(MEMORY_FIELDS)))

    def submit(self, script: str, options: Sequence[str], env: Mapping[str, str]) -> str:
        """The job is in the queue; its number. An answer without one is none: the job may be there."""
        out = self._answer("sbatch", "--parsable", *options, input_text=script, env=env)
        job = submitted(out)
        if job is None:
            raise _silent(f"sbatch answered {out.strip()[:120]!r}, which tells no job's number")
        return job[0]

    def ask_to_end(self, address: str) -> None:
        """SIGTERM went to the batch script alone, which is the trainer. No KillWait runs."""
        self._end("--signal=TERM", "--batch", address)

    def ask_its_trainer(self, address: str, number: str) -> None:
        """SIGTERM went to what the batch script of a person's own has started, once. The shell itself would die of it,
        and Slurm would then kill the trainer that saves; ``srun`` would kill its task."""
        steps = self._answer("squeue", "-h", "-s", "-j", number, "-o", "%i").split()
        own = (step.partition(".")[2] for step in steps if step.startswith((f"{number}.", f"{address}.")))
        if any(step.isdigit() for step in own):
            self._end("--signal=TERM", address)  # the steps alone
            return
        try:
            self._answer(
                *("srun", f"--jobid={number}", "--overlap", "--nodes=1", "--ntasks=1", "--mem=0", "--mpi=none"),
                *("--immediate=10", "--export=NONE", "--job-name=tm-stop"),
                *("/bin/sh", "-c", _ASK_ALL_BUT_SHELLS, number),
            )
        except ClusterSilentError as error:
            if not isinstance(error.__cause__, subprocess.TimeoutExpired):
                raise
            # It may have arrived, and a second signal would cut the save short.
        except DriverError:  # a Slurm before 20.11, a step that could not be had: the shell is asked with the rest
            self._end("--signal=TERM", "--full", address)

    def kill(self, job_id: str) -> None:
        """SIGKILL went to the batch script."""
        self._end("--signal=KILL", "--batch", job_id)

    def cancel(self, job_id: str) -> None:
        """The job ends: a pending one at once, a running one by TERM and, after KillWait, by KILL."""
        self._end(job_id)

    def _end(self, *words: str) -> None:
        """What was asked is done, or was before: a job that ends in this moment is no refusal."""
        try:
            self._answer("scancel", *words)
        except ClusterSilentError:
            raise
        except DriverError as error:
            if not any(sign in error.message for sign in _OVER):
                raise

    def config(self) -> ClusterConfig:
        """How the cluster is set up."""
        return parse_config(self._answer("scontrol", "show", "config"))

    def ping(self) -> str:
        """What the controller says of itself."""
        return self._answer("scontrol", "ping").strip()

    def on_nodes(self, count: int, command: str) -> str:
        """What a shell command says on each of ``count`` nodes, if they can be had at once."""
        return self._answer(
            *("srun", f"--nodes={count}", f"--ntasks={count}", "--immediate=10", "--time=1", "--job-name=tm-doctor"),
            *("sh", "-c", command),
        )

    def version(self) -> str:
        """Of the commands here."""
        return self._answer("squeue", "--version").strip()

    def _answer(self, *argv: str, input_text: str | None = None, env: Mapping[str, str] | None = None) -> str:
        given = slurm_environment(os.environ) if env is None else without_jobs(env)
        try:
            code, out, err = self._run(argv, input_text=input_text, env=given, timeout_s=self._timeout_s)
        except subprocess.TimeoutExpired as error:
            raise _silent(f"{argv[0]} gave no answer within {self._timeout_s:g} s") from error
        except OSError as error:
            raise _silent(f"{argv[0]} can't be started: {error.strerror or error}") from error
        # squeue of another version ends with 0 on a field that it lacks. An sbatch that ends with 0 has submitted, and
        # an srun has done it, whatever a site's plugin complained of.
        if code == 0 and (argv[0] in {"sbatch", "srun"} or not _is_fault(argv[0], err)):
            return out
        said = " ".join((err or out).split())[:300] or f"exit code {code}"
        if any(sign in said for sign in _NO_ANSWER) or (argv[0] == "sbatch" and may_have_arrived(said)):
            raise _silent(f"{argv[0]}: {said}")
        raise DriverError("cluster-refused", f"{argv[0]} refused: {said}", "as Slurm said it; trainmaster doctor")


_ASK_ALL_BUT_SHELLS: Final = """asked=1
for process in /proc/[0-9]*; do
  grep -qzx "SLURM_JOB_ID=$0" "$process/environ" 2>/dev/null || continue
  case "$(cat "$process/comm")" in sh|bash|dash|ash|zsh|ksh|csh|tcsh|fish|srun|tee|slurmstepd*) continue;; esac
  kill -TERM "${process#/proc/}" && asked=0
done
exit $asked"""
"""Run on the node, in the job's own allocation. A process that a script starts has the job's number from it."""
_OVER: Final = ("Invalid job id specified", "already completing or completed")
_UNREACHED: Final = ("Unable to contact slurm controller", "slurm_load_jobs error")
_NO_ANSWER: Final = (
    *("Unable to contact slurm controller", "Connection refused", "Connection timed out", "Socket timed out"),
    *("Zero Bytes were transmitted", "Unable to establish configuration source", "Slurm backup controller in standby"),
    *("Could not establish a configuration source", "Unable to establish control machine address", "Unable to resolve"),
    *("No route to host", "Protocol authentication error", "Munge", "munge", "Transport endpoint is not connected"),
)
"""Of Slurm's error texts: those that mean that nobody answered. Source: slurm/slurm_errno.h."""


def _is_fault(name: str, err: str) -> bool:
    """Whether a command, or what a site has put in its place, failed although it ended with 0."""
    return f"{name}: error" in err or any(sign in err for sign in _UNREACHED)


def _silent(text: str) -> ClusterSilentError:
    return ClusterSilentError("cluster-silent", f"{text}.", "trainmaster doctor; jobs train on meanwhile")
