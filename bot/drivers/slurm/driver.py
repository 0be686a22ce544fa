"""Trainings that are jobs of a Slurm cluster. The bot stands outside of its nodes and sees no process there."""

from __future__ import annotations

import math
import threading
import time
from dataclasses import replace
from pathlib import Path
from typing import Final

from trainmaster.bot.core.run.facts import ProcessFact, ProcessStatus
from trainmaster.bot.core.run.job import ControllerSilence, JobIdentity
from trainmaster.bot.core.run.launch_spec import Force, LaunchSpec
from trainmaster.bot.drivers.local.environment import trainer_environment
from trainmaster.bot.drivers.slurm.client import KEPT_NAMES, SlurmClient
from trainmaster.bot.drivers.slurm.queue import MAX_AGE_S, JobQueue
from trainmaster.bot.drivers.slurm.rows import ClusterConfig, JobRow
from trainmaster.bot.drivers.slurm.states import CLOCK_SKEW_S, fact_of, is_same_job, newest_memory, row_of
from trainmaster.bot.drivers.slurm.submissions import Submission, Submissions
from trainmaster.bot.errors import ClusterSilentError, DriverError
from trainmaster.trainer.contract import RUN_VARIABLE, RunLayout
from trainmaster.trainer.jobs import launch_environment
from trainmaster.trainer.jobs.script import (
    DEFAULT_MARGIN_S,
    batch_script,
    comment_of,
    job_name,
    key_of,
    sbatch_words,
)

_CONFIG_AGE_S: Final = 600.0
_ACCOUNTING_RETRY_S: Final = 60.0
"""Until an accounting that gave no answer, or is late, is asked again about the same job; it may hang."""
_DEFAULT_JOB_AGE_S: Final = 300.0
"""Slurm's own default of MinJobAge."""


class SlurmDriver:
    """Implements :class:`trainmaster.bot.operations.ports.Driver` for jobs of the cluster that SLURM_CONF names."""

    def __init__(
        self,
        launches: Path,
        *,
        client: SlurmClient | None = None,
        max_age_s: float = MAX_AGE_S,
        only_looks: bool = False,
    ) -> None:
        """``only_looks``: nothing is ever done by what it tells, so a job is believed its name."""
        self.client = client or SlurmClient()
        self.queue = JobQueue(self.client.queue, max_age_s=max_age_s)
        self._submissions = Submissions(launches)
        self._only_looks = only_looks
        self._ended: dict[JobIdentity, ProcessFact] = {}
        self._ask_again_s: dict[JobIdentity, float] = {}
        """When the accounting is asked once more about an end that it did not tell."""
        self._seen: set[str] = set()
        self._config: tuple[float, ClusterConfig] | None = None
        self._launching = threading.Lock()

    def inspect(self, job: JobIdentity) -> ProcessFact:
        """What is known of it now; ``UNKNOWN`` when the controller gives no answer, and never an exception."""
        look = self.queue.look()
        row = row_of(look.rows, job)
        if (row is None and not look.fault and job not in self._ended) or _began_since(row, job, look.ts):
            self.queue.hasten()  # the job, or its start, may be younger than that look
            look = self.queue.look()
            row = row_of(look.rows, job)
        if look.fault:
            return ProcessFact(status=ProcessStatus.UNKNOWN, ts=look.ts, detail=look.fault, silent=True)
        if row is not None:
            self._seen.add(row.id)
            return self._kept(job, fact_of(row, look.ts))
        if job not in self._ended or time.monotonic() >= self._ask_again_s.get(job, math.inf):
            fact = self._absent(job, look.rows, look.ts)
            if not fact.over:
                return fact
            self._ended[job] = fact
        return replace(self._ended[job], ts=look.ts)

    def _kept(self, job: JobIdentity, fact: ProcessFact) -> ProcessFact:
        """``fact``; how a job ended is known on when Slurm has forgotten it."""
        if fact.over:
            self._ended[job] = fact
        else:
            self._ended.pop(job, None)
        return fact

    def next_start(self, run: str, job: JobIdentity) -> ProcessFact | None:
        """Of a job that this bot has submitted for ``run`` after ``job``, and that waits or has begun; None where there
        is none, or nobody answers. Asks no more than :meth:`inspect`."""
        look = self.queue.look()
        for row in reversed(look.rows):
            if row.name != job_name(run) or is_same_job(row, job):
                continue
            fact = fact_of(row, look.ts)
            if not fact.over and self._is_believed(row):
                return fact
        return None

    def _behind(self, job: JobIdentity) -> list[JobRow]:
        """What waits in the queue for the same run, as a person submits a chain of jobs."""
        look = self.queue.look()
        waiting = [row for row in look.rows if fact_of(row, look.ts).status is ProcessStatus.PENDING]
        return [row for row in waiting if row.name == job.name and key_of(row.comment) and not is_same_job(row, job)]

    def _cancel_if_ours(self, row: JobRow) -> None:
        try:
            self.client.cancel(row.id)
        except ClusterSilentError:
            raise
        except DriverError:  # anybody may give a job that name
            return

    def _is_believed(self, row: JobRow) -> bool:
        """Whether this bot has submitted that job, which anybody may give a name and a comment."""
        key = key_of(row.comment)
        if key is None or self._only_looks:
            return key is not None
        known = self._submissions.read(key)
        return known is not None and known.id in {None, row.id}

    def _absent(self, job: JobIdentity, rows: tuple[JobRow, ...], ts: float) -> ProcessFact:
        """The queue was read and does not have it: it is over, however little is known of how."""
        try:
            config = self.config()
        except DriverError as error:
            return ProcessFact(status=ProcessStatus.UNKNOWN, ts=ts, detail=error.message, silent=True)
        if config.hides_jobs and job.id not in self._seen:
            text = "the cluster shows people their own jobs only (PrivateData=jobs), and this one is not the bot's"
            return ProcessFact(status=ProcessStatus.UNKNOWN, ts=ts, detail=text)
        if _is_elsewhere(job, config, rows):
            text = f"it is a job of the cluster {job.cluster}, and this bot asks the cluster {config.name} (SLURM_CONF)"
            return ProcessFact(status=ProcessStatus.UNKNOWN, ts=ts, detail=text)
        why = "Slurm has forgotten it and keeps no accounting"
        if config.accounting:
            try:
                memory = newest_memory(self.client.remembered(job.id), job)
            except DriverError as error:
                memory, why = None, f"the accounting gives no answer ({error.message})"
                self._ask_again_s[job] = time.monotonic() + _ACCOUNTING_RETRY_S
            else:
                why = "the accounting knows nothing of it"
                self._ask_again_s.pop(job, None)
            if memory is not None:
                fact = fact_of(replace(memory, restarts=job.restart), ts)
                if fact.over:
                    return fact
                why = f"the accounting calls it {memory.state.lower()} still"
                self._ask_again_s[job] = time.monotonic() + _ACCOUNTING_RETRY_S
        other = next((row for row in rows if row.id == job.id), None)
        if other is not None:
            text = f"the job's number is another one's now (job {job.id} is {other.name!r}), how it ended is not known"
            return ProcessFact(status=ProcessStatus.REPLACED, ts=ts, detail=text)
        text = f"the job is over, how it ended is not known: {why}"
        return ProcessFact(status=ProcessStatus.GONE, ts=ts, detail=text)

    def stop(self, job: JobIdentity, force: Force) -> bool:
        """A waiting job is cancelled, and so are those of its run that wait behind it: each would start as soon as it
        ends. A running one is asked: at first its trainer alone, which keeps as much time as the bot gives it; then by
        Slurm, which kills after KillWait; then killed. False when it is over.

        Raises:
            DriverError: the controller gave no answer, or refused.
        """
        self.queue.hasten()  # one that has begun meanwhile must not be cancelled as if it waited
        fact = self.inspect(job)
        if fact.status is ProcessStatus.UNKNOWN:
            raise ClusterSilentError(
                "cluster-silent", f"whether {job.label} runs can't be told: {fact.detail}.", "trainmaster doctor"
            )
        if fact.over:
            return False
        address = fact.job.address if fact.job is not None else job.id
        for behind in self._behind(job):
            self._cancel_if_ours(behind)
        if fact.status is not ProcessStatus.ALIVE or force is Force.ALL:
            self.client.cancel(address)
        elif force is Force.ASK:
            # What a person submitted by hand may have a shell around the trainer, which would keep the signal.
            if job.name is not None:
                self.client.ask_to_end(address)
            else:
                self.client.ask_its_trainer(address, job.id)
        else:
            self.client.kill(address)
            self.client.cancel(address)
        self.queue.hasten()
        return True

    def launch(self, spec: LaunchSpec) -> JobIdentity:
        """The job is in the queue; the one that an earlier launch with the same key submitted, if that is not over.

        Raises:
            ClusterSilentError: the controller gave no answer, so it may or may not be; ask again.
            DriverError: Slurm refused, in its own words, and nothing was submitted; or nobody can tell any more whether
                an earlier launch was.
        """
        with self._launching:
            known = self._submissions.read(spec.key)
            found = self._in_queue(spec.key, known)
            if found is not None:
                return found
            if known is not None and known.id is None:
                self._require_never_submitted(known)
            return self._submit(spec)

    def find(self, key: str) -> JobIdentity | None:
        """The job that a launch with this key submitted, over or not; None when there was none.

        Raises:
            ClusterSilentError: the controller gave no answer.
        """
        known = self._submissions.read(key)
        found = self._in_queue(key, known)
        if found is None and known is not None and known.id is not None:
            return JobIdentity(id=known.id, submit_ts=known.submit_ts, name=known.name)
        return found

    def survivors(self, job: JobIdentity) -> tuple[JobIdentity, ...]:
        """None: what a job leaves behind on its node, Slurm itself ends."""
        del job
        return ()

    def silence(self) -> ControllerSilence | None:
        """Since when nobody has answered for the cluster, as its queue knows; None while somebody does."""
        return self.queue.silence()

    def config(self) -> ClusterConfig:
        """How the cluster is set up, asked every few minutes.

        Raises:
            DriverError: no answer.
        """
        now = time.monotonic()
        if self._config is None or now - self._config[0] > _CONFIG_AGE_S:
            self._config = (now, self.client.config())
        return self._config[1]

    def _in_queue(self, key: str, known: Submission | None) -> JobIdentity | None:
        self.queue.hasten()
        look = self.queue.look()
        if look.fault:
            raise ClusterSilentError("cluster-silent", f"{look.fault}.", "jobs train on meanwhile")
        for row in look.rows:
            ours = row.comment == comment_of(key) or (
                known is not None and known.id == row.id and known.name == row.name
            )
            if ours and not fact_of(row, look.ts).over:
                return _identity(row)
        return None

    def _require_never_submitted(self, known: Submission) -> None:
        """The bot died while it submitted, and the queue has no such job: so there never was one, as long as the queue
        would still show it."""
        config = self.config()
        age_s = time.time() - known.meant_ts
        if age_s < (config.min_job_age_s or _DEFAULT_JOB_AGE_S):
            return
        if config.accounting:
            rows = self.client.remembered_by_name(known.name, since_s=age_s + CLOCK_SKEW_S)
            late = [row for row in rows if (row.submit_ts or 0.0) >= known.meant_ts - 1.0]
            if not late:
                return
        raise DriverError(
            "launch-unclear",
            f"whether {known.name} was submitted {age_s / 60:.0f} min ago is not known any more: Slurm has forgotten.",
            "see the run's directory; if nothing trains there: /train resume",
        )

    def _submit(self, spec: LaunchSpec) -> JobIdentity:
        name = job_name(spec.run)
        self._submissions.write(Submission(key=spec.key, name=name, meant_ts=time.time()))
        options = spec.options or ()
        script = batch_script(
            spec.argv, cwd=str(spec.cwd), key=spec.key, run=spec.run, options=options, env=dict(spec.env)
        )
        margin_s = DEFAULT_MARGIN_S if spec.margin_s is None else spec.margin_s
        words = sbatch_words(spec.run, spec.key, options, margin_s=margin_s, log=str(spec.log))
        try:
            number = self.client.submit(script, words, _environment(spec))
        except ClusterSilentError:
            self.queue.hasten()
            raise  # it may have arrived
        except DriverError:
            self._submissions.forget(spec.key)
            raise
        self.queue.hasten()
        row = next((row for row in self.queue.look().rows if row.id == number), None)
        identity = JobIdentity(id=number, name=name) if row is None else _identity(row)
        self._submissions.write(
            Submission(key=spec.key, name=name, meant_ts=time.time(), id=number, submit_ts=identity.submit_ts)
        )
        return identity


def _environment(spec: LaunchSpec) -> dict[str, str]:
    """What the run's newest job was started with, else the plain part of the bot's own; the cluster is the bot's."""
    directory = spec.env.get(RUN_VARIABLE)
    known = launch_environment.recall(RunLayout(Path(directory))) if directory else None
    plain = trainer_environment({})
    cluster = {name: value for name, value in plain.items() if name in KEPT_NAMES}
    return {**trainer_environment({}, known), **cluster}


def _began_since(row: JobRow | None, job: JobIdentity, ts: float) -> bool:
    """Whether ``row`` says that the very start waits which has signed in since ``ts``."""
    if row is None or row.restarts != job.restart or job.started_ts is None:
        return False
    return job.started_ts > ts and fact_of(row, ts).status is ProcessStatus.PENDING


def _is_elsewhere(job: JobIdentity, config: ClusterConfig, rows: tuple[JobRow, ...]) -> bool:
    """Whether the job is of a cluster that this queue does not show."""
    if job.cluster is None or config.name is None or job.cluster.lower() == config.name.lower():
        return False
    return all(row.cluster != job.cluster for row in rows)


def _identity(row: JobRow) -> JobIdentity:
    return JobIdentity(
        id=row.id, cluster=row.cluster, restart=row.restarts or 0, submit_ts=row.submit_ts, name=row.name or None
    )
