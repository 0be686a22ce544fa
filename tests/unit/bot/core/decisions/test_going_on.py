"""How often a run goes on by itself: a thousand made-up stories of deaths, told to the rules alone."""

from __future__ import annotations

import random
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from types import MappingProxyType

import pytest

from trainmaster.bot.core.decisions.going_on import (
    ARTEFACT,
    ASKED,
    FINISHED,
    MAX_STARTS,
    MAX_STARTS_IN_ALL,
    ROOT,
    AutoResume,
    Circumstances,
    Going,
    decide,
    notes_of,
    pause_s,
)
from trainmaster.bot.core.decisions.operation import BOT, Operation, OperationKind, OperationState, Step
from trainmaster.bot.core.run.death import Death, DeathCause, DeathClass, class_of
from trainmaster.bot.core.run.facts import ProcessIdentity, RunRecord
from trainmaster.bot.core.run.view import EpochView, RunView

TRANSIENT = [cause for cause in DeathCause if class_of(cause) is DeathClass.TRANSIENT]


def started(number: int, attempt: int, death: Death, finished: int, state: OperationState, user: str) -> Operation:
    notes = {ROOT: death.cause.root, FINISHED: str(finished), ARTEFACT: death.artefact}
    return Operation(
        id=f"op{number}",
        kind=OperationKind.RESUME,
        run="r",
        name="r",
        directory=Path("r"),
        requester=user,
        decided_by=(),
        channel=None,
        thread_of=None,
        created_ts=random.Random(number).uniform(0, 1e9),  # a clock that jumps
        updated_ts=0.0,
        owner=ProcessIdentity(pid=1, create_time=1.0, host="h"),
        fence=1,
        step=Step.CONFIRM,
        process=None,
        attempt=attempt,
        was_active=False,
        launch=None,
        state=state,
        notes=tuple(notes.items()) if user == BOT else (),
    )


class Story:
    """A run that dies again and again; a person starts it where the bot does not."""

    def __init__(self, seed: int) -> None:
        self.chance = random.Random(seed)
        self.attempt = 1
        self.done: dict[tuple[int, int], EpochView] = {}
        self.history: list[Operation] = []
        self.since_progress: list[str] = []
        """Roots of automatic starts since an epoch was finished for the first time."""

    @property
    def newest(self) -> int:
        return max((epoch for _, epoch in self.done), default=0)

    def view(self) -> RunView:
        record = RunRecord.parse({"run": "r", "attempt": self.attempt, "layers": [{"layer": "1"}]})
        return RunView(
            directory=Path("r"),
            name="r",
            ts=0.0,
            first_seen_ts=0.0,
            record=record,
            epochs=MappingProxyType(dict(self.done)),
        )

    def finish(self) -> None:
        """Mostly the next epoch; sometimes the newest one once more, which is no progress."""
        again = self.chance.random() < 0.3 and self.newest > 0
        epoch = self.newest if again else self.newest + 1
        self.done[self.attempt, epoch] = EpochView(attempt=self.attempt, epoch=epoch, finished_ts=1.0)
        if not again:
            self.since_progress.clear()

    def die(self) -> Going:
        cause = self.chance.choice([*TRANSIENT, *DeathCause, DeathCause.KILLED, DeathCause.KILLED])
        error = self.chance.choice(["", "CUDA error: x", f"CUDA error: {self.chance.random()}"])
        death = Death(attempt=self.attempt, cause=cause, last_ts=0.0, epoch=self.newest + 1, batch=7, error=error)
        known = Circumstances(mode=AutoResume.AUTO, history=tuple(reversed(self.history)))
        decision = decide(self.view(), death, known)
        by_itself = decision.going is Going.ON
        if by_itself:
            assert death.kind is DeathClass.TRANSIENT
            self.since_progress.append(death.cause.root)
        state = self.chance.choice([OperationState.DONE, OperationState.DONE, OperationState.UNDONE])
        user = BOT if by_itself else "U0ANN"
        state = state if by_itself else OperationState.DONE
        finished = decision.finished if by_itself else self.newest
        self.history.append(started(len(self.history), self.attempt, death, finished, state, user))
        self.attempt += 1
        return decision.going


def test_no_root_is_started_more_than_three_times_without_progress_in_a_thousand_stories() -> None:
    most = 0
    for seed in range(1000):
        story = Story(seed)
        for _ in range(25):
            if story.chance.random() < 0.25:
                story.finish()
            story.die()
            counts = {root: story.since_progress.count(root) for root in story.since_progress}
            assert all(count <= MAX_STARTS for count in counts.values()), (seed, counts)
            assert len(story.since_progress) <= MAX_STARTS_IN_ALL, (seed, story.since_progress)
            most = max(most, *counts.values(), 0) if counts else most
    assert most == MAX_STARTS, "the ceiling is reached, and never passed"


@pytest.mark.parametrize("mode", [AutoResume.ASK, AutoResume.OFF])
def test_nothing_goes_on_by_itself_unless_that_is_wanted(mode: AutoResume) -> None:
    death = Death(attempt=1, cause=DeathCause.KILLED, last_ts=0.0)
    decision = decide(Story(1).view(), death, Circumstances(mode=mode, history=()))
    assert decision.going is (Going.ASK if mode is AutoResume.ASK else Going.LEAVE)


def test_pauses_grow() -> None:
    assert [pause_s(5.0, starts) for starts in range(3)] == [5.0, 30.0, 180.0]


@pytest.mark.parametrize("text", ["auto", "AUTO", "Auto"])
def test_mode_is_taken_in_any_capitals(text: str) -> None:
    assert AutoResume(text) is AutoResume.AUTO


def test_rollback_begins_the_count_anew() -> None:
    story = Story(3)
    death = Death(attempt=9, cause=DeathCause.KILLED, last_ts=0.0)
    story.attempt = 9
    spent = [started(number, number, death, 4, OperationState.DONE, BOT) for number in range(1, 4)]
    known = Circumstances(mode=AutoResume.AUTO, history=tuple(reversed(spent)))
    assert decide(story.view(), death, known).going is Going.ASK
    back = replace(spent[-1], kind=OperationKind.ROLLBACK, attempt=8, requester="U0ANN")
    known = replace(known, history=(back, *known.history))
    assert decide(story.view(), death, known).going is Going.ON


@pytest.mark.parametrize("mode", [AutoResume.AUTO, AutoResume.ASK])
@pytest.mark.parametrize(
    ("last_ts", "change", "decided"),
    [
        (101.0, {}, False),
        (99.0, {}, True),
        (101.0, {"was_active": False}, True),
        (101.0, {"notes": ((ASKED, "[]"),)}, True),
        (101.0, {"state": OperationState.ABORTED}, True),
    ],
    ids=["trained on", "died under it", "was over", "was asked to end", "was stopped by a person"],
)
def test_run_that_trained_on_after_a_rollback_that_left_it_alone_goes_on(
    mode: AutoResume, last_ts: float, change: dict[str, object], *, decided: bool
) -> None:
    """As one whose gate was closed when it was approved."""
    story = Story(1)
    killed = Death(attempt=1, cause=DeathCause.KILLED, last_ts=last_ts)
    tried = started(1, 1, killed, 0, OperationState.UNDONE, "U0ANN")
    rollback = replace(tried, **{"kind": OperationKind.ROLLBACK, "updated_ts": 100.0, "was_active": True, **change})
    decision = decide(story.view(), killed, Circumstances(mode=mode, history=(rollback,)))
    goes = Going.ON if mode is AutoResume.AUTO else Going.ASK
    assert decision.going is (Going.LEAVE if decided else goes)


@pytest.mark.parametrize(
    ("cause", "batches", "asked_after"),
    [
        pytest.param(DeathCause.TIME_LIMIT, range(100, 1000, 100), None, id="a short limit, further each time"),
        pytest.param(DeathCause.PREEMPTED, range(100, 1000, 100), None, id="preempted, further each time"),
        pytest.param(DeathCause.TIME_LIMIT, [100] * 9, MAX_STARTS, id="a limit that is too short for a batch"),
        pytest.param(DeathCause.KILLED, range(100, 1000, 100), MAX_STARTS, id="killed, which nobody planned"),
    ],
)
def test_end_that_a_cluster_planned_counts_only_where_the_run_got_no_further(
    cause: DeathCause, batches: Sequence[int], asked_after: int | None
) -> None:
    story = Story(0)
    for number, batch in enumerate(batches):
        death = Death(attempt=story.attempt, cause=cause, last_ts=0.0, epoch=1, batch=batch)
        known = Circumstances(mode=AutoResume.AUTO, history=tuple(reversed(story.history)))
        decision = decide(story.view(), death, known)
        if decision.going is not Going.ON:
            assert number == asked_after
            return
        start = started(number, story.attempt, death, 0, OperationState.DONE, BOT)
        story.history.append(replace(start, notes=(*start.notes, *notes_of(death, cause))))
        story.attempt += 1
    assert asked_after is None
