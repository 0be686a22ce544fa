"""The bot's own work: what was missed, failed or hung several times in a row, and what another bot does instead."""

from __future__ import annotations

from collections.abc import Iterable

from trainmaster.bot.checks.limits import OwnJobLimits
from trainmaster.bot.core.alerts.finding import Finding, Nature, Severity
from trainmaster.bot.core.check_name import CheckName
from trainmaster.bot.core.conversation.tokens import moment
from trainmaster.bot.core.health.no_run import BOT_RUN
from trainmaster.bot.core.health.own_job import CHECK_RUNS, PAGE_TARGET, OwnJob


def check_own_jobs(facts: Iterable[OwnJob], limits: OwnJobLimits, now: float) -> tuple[Finding, ...]:
    """One condition for each job that has not gone well for that many times. Critical when runs go unwatched."""
    return tuple(_finding(fact, limits, now) for fact in facts if fact.num_faults >= limits.faults_in_a_row)


def check_only_watches(me: str, other: str, since_ts: float, *, silent: bool) -> tuple[Finding, ...]:
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
    what, meanwhile, hint, again = _words(fact.name)
    return Finding(
        run=BOT_RUN,
        check=CheckName.DUTY_FAILED,
        key=fact.name,
        severity=Severity.CRITICAL if vital else Severity.WARNING,
        nature=Nature.CONDITION,
        ts=now if fact.since_ts is None else fact.since_ts,
        title=f"Trainmaster itself: {what} {fact.num_faults} times in a row (limit {limits.faults_in_a_row})",
        body=(f"The last time: {fact.fault}", meanwhile),
        fields=(("Since", moment(now if fact.since_ts is None else fact.since_ts)),),
        hint=hint,
        resolution=f"Trainmaster itself: {again}",
    )


def _words(name: str) -> tuple[str, str, str, str]:
    """What went wrong, what that means meanwhile, what to do, and what is told when it is over."""
    if name.startswith(PAGE_TARGET):
        hint = "trainmaster doctor tries each address of PAGE_URLS without a call; trainmaster test-alert --page calls"
        meanwhile = "Critical alerts may not reach whoever is called by it. Other page targets are called as before."
        return f"{name} took no page", meanwhile, hint, f"{name} takes pages again"
    vital = "Until it works again, runs may not be watched."
    return (
        f"{name!r} went wrong",
        vital if name == CHECK_RUNS else "Watching runs goes on without it.",
        "the bot's log says more; trainmaster doctor looks at the surroundings",
        f"{name!r} works again",
    )
