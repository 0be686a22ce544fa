"""What the bot counts for a monitoring system: named families of numbers. Pure; served by ``bot.service.metrics``."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Final, Literal

from trainmaster.bot.core.alerts.alert import Alert
from trainmaster.bot.core.alerts.finding import Severity
from trainmaster.bot.core.decisions.approval import ApprovalState
from trainmaster.bot.core.run.state import RunState
from trainmaster.bot.core.run.view import RunView
from trainmaster.visible import visible_line

MAX_RUNS_SHOWN: Final = 200
"""A run has about a dozen numbers, and a monitoring system keeps each for months. Those at work come first; the others
stand in the counts by state."""
MAX_LABEL: Final = 200
"""Characters of a run's id or name: both come from files that others write."""

Kind = Literal["gauge", "counter"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Family:
    """Numbers of one name. ``samples`` are values by those of ``labels``, each set of label values once. The name of a
    counter ends in ``_total``."""

    name: str
    about: str
    labels: tuple[str, ...] = ()
    samples: Mapping[tuple[str, ...], float] = field(default_factory=dict)
    kind: Kind = "gauge"


@dataclass(frozen=True, slots=True, kw_only=True)
class DeliveryCounts:
    """The outbox: what waits for Slack, of that what was tried in vain, and what Slack refused."""

    num_waiting: int
    oldest_ts: float | None
    num_failing: int
    num_refused: int


@dataclass(frozen=True, slots=True, kw_only=True)
class DecisionCounts:
    """Approvals and operations ever stored, by their state."""

    approvals: Mapping[str, int]
    operations: Mapping[str, int]


@dataclass(frozen=True, slots=True, kw_only=True)
class CheckTimes:
    """When all runs were last looked at, how long that took, and when the run was that waits longest; None before the
    first time."""

    ticked_ts: float | None
    tick_s: float | None
    oldest_check_ts: float | None


@dataclass(frozen=True, slots=True, kw_only=True)
class Sight:
    """Everything that is counted, as of ``ts``. What the database tells is None while it can't be read."""

    ts: float
    version: str
    started_ts: float
    runs: Sequence[RunView]
    checks: CheckTimes
    slack_connected: bool
    alerts: Sequence[Alert] | None
    delivery: DeliveryCounts | None
    decisions: DecisionCounts | None


def families(sight: Sight) -> tuple[Family, ...]:
    """All families, those without a sample included. Text of runs is cut and made visible; of runs that share id and
    name only the first is shown."""
    return (
        _one("build_info", "The version that runs; always 1.", 1.0, ("version",), (sight.version,)),
        _one("start_timestamp_seconds", "When the bot was started.", sight.started_ts),
        _one("collected_timestamp_seconds", "When these numbers were collected.", sight.ts),
        _one("database_readable", "Whether the bot's database could be read.", _readable(sight)),
        _one("slack_connected", "Whether Slack's socket answers.", float(sight.slack_connected)),
        *_checks(sight),
        *_runs(sight.runs),
        *_alerts(sight.alerts),
        *_delivery(sight),
        *_decisions(sight.decisions),
    )


def _one(
    name: str, about: str, value: float | None, labels: tuple[str, ...] = (), values: tuple[str, ...] = ()
) -> Family:
    samples = {} if value is None else {values: value}
    return Family(name=f"trainmaster_{name}", about=about, labels=labels, samples=samples)


def _readable(sight: Sight) -> float:
    return float(None not in (sight.alerts, sight.delivery, sight.decisions))


def _age_s(now: float, ts: float | None) -> float | None:
    return None if ts is None else max(0.0, now - ts)


def _checks(sight: Sight) -> tuple[Family, ...]:
    checks = sight.checks
    return (
        _one("tick_age_seconds", "Since all runs were last looked at.", _age_s(sight.ts, checks.ticked_ts)),
        _one("tick_duration_seconds", "How long the last look at all runs took.", checks.tick_s),
        _one(
            "check_age_seconds",
            "Since the run that waits longest was looked at.",
            _age_s(sight.ts, checks.oldest_check_ts),
        ),
    )


def _epoch(view: RunView) -> float | None:
    if view.beat is not None and view.beat.epoch is not None:
        return view.beat.epoch
    return view.current.epoch if view.current else None


def _batch(view: RunView) -> float | None:
    if view.beat is not None and view.beat.batch is not None:
        return view.beat.batch
    return view.current.batches_done if view.current else None


def _batches(view: RunView) -> float | None:
    if view.beat is not None and view.beat.batches is not None:
        return view.beat.batches
    return view.current.batches if view.current else None


def _loss(view: RunView) -> float | None:
    if view.beat is not None and view.beat.losses:
        return sum(view.beat.losses.values())
    return view.current.total_loss if view.current else None


_RUN_LABELS: Final = ("run", "name")
_OF_A_RUN: Final[tuple[tuple[str, str, Callable[[RunView], float | None]], ...]] = (
    ("run_attempt", "Number of the newest attempt, from 1.", lambda view: view.attempt),
    ("run_epoch", "The epoch that the newest attempt is in, or ended in; from 1.", _epoch),
    ("run_epochs", "Epochs that the run is planned for.", lambda view: view.total_epochs),
    ("run_batch", "Batches of the epoch that are done.", _batch),
    ("run_batches", "Batches that the epoch has.", _batches),
    ("run_loss", "Sum of the mean losses of the epoch so far, bad batches left out.", _loss),
    (
        "run_bad_batches",
        "Bad batches of the run as it now stands; a rollback takes some back.",
        lambda view: view.num_bad,
    ),
    ("run_skipped_batches", "Of the bad batches, those that the guard left out.", lambda view: view.num_skipped),
    ("run_clipped_steps", "Steps whose gradient was clipped, as the run now stands.", lambda view: view.num_clipped),
    (
        "run_clean_checkpoint_epoch",
        "Epoch of the newest checkpoint that is attested clean and can be resumed.",
        lambda view: view.last_clean.epoch if view.last_clean else None,
    ),
    (
        "run_beat_timestamp_seconds",
        "When the trainer last wrote its heartbeat, by its own clock.",
        lambda view: view.beat.ts if view.beat else None,
    ),
)


def _runs(views: Sequence[RunView]) -> tuple[Family, ...]:
    states = Counter(view.state for view in views)
    shown: dict[tuple[str, str], RunView] = {}
    for view in views:
        if len(shown) == MAX_RUNS_SHOWN:
            break
        shown.setdefault((_label(view.run), _label(view.name)), view)
    now: dict[tuple[str, ...], float] = {(*key, str(view.state)): 1.0 for key, view in shown.items()}
    return (
        Family(
            name="trainmaster_runs",
            about="Runs by state.",
            labels=("state",),
            samples={(str(state),): float(states[state]) for state in RunState},
        ),
        _one("runs_not_shown", "Runs that only the counts by state tell of.", len(views) - len(shown)),
        Family(
            name="trainmaster_run_state",
            about="1 for the state that the run is in.",
            labels=(*_RUN_LABELS, "state"),
            samples=now,
        ),
        *(
            Family(
                name=f"trainmaster_{name}",
                about=about,
                labels=_RUN_LABELS,
                samples={key: float(value) for key, view in shown.items() if (value := tell(view)) is not None},
            )
            for name, about, tell in _OF_A_RUN
        ),
    )


def _label(text: str) -> str:
    return visible_line(text)[:MAX_LABEL]


def _alerts(alerts: Sequence[Alert] | None) -> tuple[Family, ...]:
    known = alerts or ()
    firing = Counter((str(one.finding.severity), str(one.finding.check)) for one in known)
    open_ = Counter(str(one.finding.severity) for one in known if one.acked_by is None)
    every = [str(one) for one in Severity] if alerts is not None else []
    return (
        Family(
            name="trainmaster_alerts_firing",
            about="Alerts that fire, as the command alerts lists them, by severity and check.",
            labels=("severity", "check"),
            samples={key: float(count) for key, count in firing.items()},
        ),
        Family(
            name="trainmaster_alerts_unacknowledged",
            about="Of the alerts that fire, those that nobody acknowledged.",
            labels=("severity",),
            samples={(severity,): float(open_[severity]) for severity in every},
        ),
    )


def _delivery(sight: Sight) -> tuple[Family, ...]:
    counts = sight.delivery
    oldest_s = None if counts is None else _age_s(sight.ts, counts.oldest_ts) or 0.0
    return (
        _one(
            "delivery_waiting",
            "Messages whose newest text Slack has not yet taken.",
            None if counts is None else counts.num_waiting,
        ),
        _one("delivery_oldest_age_seconds", "How long the oldest of them has waited; 0 when none does.", oldest_s),
        _one(
            "delivery_failing",
            "Of them, those that were tried in vain.",
            None if counts is None else counts.num_failing,
        ),
        _one(
            "delivery_refused",
            "Of them, those that Slack refused to take.",
            None if counts is None else counts.num_refused,
        ),
    )


def _decisions(counts: DecisionCounts | None) -> tuple[Family, ...]:
    approvals, operations = (counts.approvals, counts.operations) if counts else ({}, {})
    decided = [str(one) for one in ApprovalState if one is not ApprovalState.PENDING] if counts else []
    pending = float(approvals.get(ApprovalState.PENDING, 0)) if counts else None
    open_ = float(operations.get("open", 0)) if counts else None
    return (
        _one("approvals_open", "Questions that wait for people on call.", pending),
        Family(
            name="trainmaster_approvals_decided_total",
            about="Questions that were answered or lapsed, by what became of them.",
            labels=("state",),
            samples={(state,): float(approvals.get(state, 0)) for state in decided},
            kind="counter",
        ),
        _one("operations_open", "Stops and rollbacks under way, or waiting for a person.", open_),
        Family(
            name="trainmaster_operations_ended_total",
            about="Stops and rollbacks that are over, by how they ended.",
            labels=("state",),
            samples={(state,): float(count) for state, count in operations.items() if state != "open"},
            kind="counter",
        ),
    )
