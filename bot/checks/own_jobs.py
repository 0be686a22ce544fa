"""The bot's own work: what was missed, failed or hung several times in a row, and what another bot does instead."""

from __future__ import annotations

from collections.abc import Iterable

from trainmaster.bot.checks.limits import OwnJobLimits
from trainmaster.bot.core.alerts.finding import Finding, Nature, Severity
from trainmaster.bot.core.check_name import CheckName
from trainmaster.bot.core.conversation.tokens import moment
from trainmaster.bot.core.health.own_job import BOT_RUN, CHECK_RUNS, OwnJob


def check_own_jobs(facts: Iterable[OwnJob], limits: OwnJobLimits, now: float) -> tuple[Finding, ...]:
    """One condition for each job that has not gone well for that many times. Critical when runs go unwatched."""
    return tuple(_finding(fact, limits, now) for fact in facts if fact.num_faults >= limits.faults_in_a_row)


def check_only_watches(me: str, other: str, since_ts: float, *, silent: bool = False) -> tuple[Finding, ...]:
    """A condition while the bot ``other`` acts on the runs in place of ``me``; none when ``other`` is empty.
    ``silent``: the other one tells this very channel what it sees."""
    if not other:
        return ()
    tells = "repeats nothing that the other one tells here" if silent else "goes on telling what it sees"
    finding = Finding(
        run=BOT_RUN,
        check=CheckName.ONLY_WATCHES,
        key="lease",
        severity=Severity.WARNING,
        nature=Nature.CONDITION,
        ts=since_ts,
        title=f"Trainmaster only watches: another one acts on these runs ({other})",
        body=(
            f"This one ({me}) {tells}, and leaves stops, resumes and rollbacks to the other one.",
            "When that is gone, it takes over by itself within a minute.",
        ),
        fields=(("Since", moment(since_ts)),),
        hint="both watch the same RUNS_DIR: end one of them, or leave it as a spare",
        resolution=f"Trainmaster ({me}) acts on the runs itself from now on",
    )
    return (finding,)


def _finding(fact: OwnJob, limits: OwnJobLimits, now: float) -> Finding:
    vital = fact.name == CHECK_RUNS
    return Finding(
        run=BOT_RUN,
        check=CheckName.DUTY_FAILED,
        key=fact.name,
        severity=Severity.CRITICAL if vital else Severity.WARNING,
        nature=Nature.CONDITION,
        ts=now if fact.since_ts is None else fact.since_ts,
        title=f"Trainmaster itself: {fact.name!r} went wrong {fact.num_faults} times in a row"
        f" (limit {limits.faults_in_a_row})",
        body=(
            f"The last time: {fact.fault}",
            "Until it works again, runs may not be watched." if vital else "Watching runs goes on without it.",
        ),
        fields=(("Since", moment(now if fact.since_ts is None else fact.since_ts)),),
        hint="the bot's log has the traceback; trainmaster doctor looks at the surroundings",
        resolution=f"Trainmaster itself: {fact.name!r} works again",
    )
