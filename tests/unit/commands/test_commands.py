"""What people type, and what they are told."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest

from tests.support.clocks import SetClock
from tests.support.run_dirs import START_TS, WrittenRun
from tests.support.worlds import ANNA, CommandWorld, FakeRuns
from trainmaster.bot.core.alerts.alert import Alert, AlertState, card_key
from trainmaster.bot.core.alerts.finding import Finding, Nature, Severity
from trainmaster.bot.core.conversation.message import Reply
from trainmaster.bot.core.conversation.request import Origin, Request
from trainmaster.bot.core.conversation.tokens import moment, person
from trainmaster.bot.core.decisions.order import BringBack, Order, ProposeRollback, ShowArchives, ShowAudit
from trainmaster.bot.core.run.facts import ProcessFact, ProcessStatus
from trainmaster.bot.core.run.view import RunView
from trainmaster.bot.errors import CommandError
from trainmaster.bot.reading.run_files import RunReader
from trainmaster.commands import COMMANDS, dispatch
from trainmaster.commands.base import Fits
from trainmaster.trainer.contract import RunRecordState

RUN = "digits-0001"


class World(CommandWorld):
    async def say(self, text: str, *, user: str = ANNA, thread_ts: str | None = None) -> Reply:
        origin = Origin.THREAD if thread_ts else Origin.SLASH
        request = Request(origin=origin, user=user, channel="C0TRAIN", text=text, thread_ts=thread_ts)
        return await dispatch(request, self.context, COMMANDS)


def _view(written: WrittenRun, after_s: float = 200.0) -> RunView:
    view = RunReader(written.layout.root, first_seen_ts=START_TS).read(START_TS + after_s)
    return replace(view, process=ProcessFact(status=ProcessStatus.ALIVE, ts=START_TS + after_s))


@pytest.fixture
def written(tmp_path: Path) -> WrittenRun:
    run = WrittenRun(tmp_path)
    run.start_epoch(1, 0)
    run.bad_batch(1, 42, 50)
    run.finish_epoch(1, 100, loss=4.0, nonfinite=1, skipped=1, clipped=2)
    run.save_checkpoint(1, 101)
    run.start_epoch(2, 102)
    run.beat(152, epoch=2, batch=50, epoch_elapsed_s=50.0, clipped_epoch=3)
    return run


@pytest.fixture
def world(written: WrittenRun) -> World:
    return World(runs=FakeRuns([_view(written)]), clock=SetClock(START_TS + 152))


async def test_status_says_everything_a_person_asks_for(world: World) -> None:
    message = (await world.say("status")).message
    fields = dict(message.fields)
    assert message.title == "digits: training, epoch 2 of 4, batch 50 of 100"
    assert fields["Attempt"] == "1"
    assert not {"State", "Epoch", "Batch"} & set(fields)  # the title says so
    assert fields["Bad batches (NaN)"] == "1 (1 skipped)"
    assert fields["Clipped gradients"] == "5, 3 in this epoch"
    assert fields["Runtime"].startswith("3 min")
    assert fields["Next milestone"].startswith("end of epoch 2 <t:")
    assert fields["Last clean checkpoint"] == f"epoch 1, saved {moment(START_TS + 101)}"
    assert "1 clipping  max_norm 10.0" in message.excerpt
    assert "lr0 0.0005 (yours)" in message.excerpt


async def test_status_of_a_run_that_ended_has_no_milestone(world: World, written: WrittenRun) -> None:
    written.record(state=RunRecordState.GAVE_UP)
    world.runs.views = [_view(written)]
    message = (await world.say("status")).message
    assert dict(message.fields)["Next milestone"] == "none: the run is not at work"
    assert message.tone == "critical"


async def test_progress_of_the_running_epoch(world: World) -> None:
    message = (await world.say("epoch 2 progress")).message
    assert message.title == "digits: epoch 2 of 4, running"
    assert message.items[0].detail == "50 of 100 (50 %)"
    assert not {"Batch", "Clipped", "Bad batches (NaN)"} & {label for label, _ in message.fields}
    assert [item.text for item in message.items] == [
        "All batches",
        "No NaN",
        "Few clipped gradients",
        "Validation done",
        "Loss smooth and falling",
    ]


async def test_progress_of_a_finished_epoch_lists_its_bad_batches(world: World) -> None:
    message = (await world.say("epoch 1 progress")).message
    assert message.title == "digits: epoch 1 of 4, finished"
    assert message.table is not None
    assert message.table.rows == (("42", "loss is not finite", "img_0001.png, img_0002.png"),)
    assert message.items[1].detail == "1 bad, skipped without a trace"


async def test_progress_without_a_number_is_of_the_running_epoch(world: World) -> None:
    assert "epoch 2" in (await world.say("epoch progress")).message.title


@pytest.mark.parametrize("number", ["0", "3", "99", "999999"])
async def test_an_epoch_that_does_not_exist_is_refused_with_those_that_do(world: World, number: str) -> None:
    with pytest.raises(CommandError) as caught:
        await world.say(f"epoch {number} progress")
    assert caught.value.message == f"run digits has no epoch {number}. It has epochs 1 to 2, 4 are planned."


@pytest.mark.parametrize(
    ("text", "asked"),
    [
        pytest.param("execute rollback", (None, None, False), id="plain"),
        pytest.param("Execute  Rollback", (None, None, False), id="case and blanks"),
        pytest.param("execute rollback to epoch 3", (3, None, False), id="to an epoch"),
        pytest.param("rollback to 3 level strict+1", (3, "strict+1", False), id="to an epoch at a level"),
        pytest.param("execute rollback dry run", (None, None, True), id="dry run"),
        pytest.param("execute rollback of digits", (None, None, False), id="run named"),
        pytest.param("execute rollback of “digits” dry run", (None, None, True), id="dry run last, run quoted"),
    ],
)
async def test_rollback_is_proposed_as_asked(
    world: World, text: str, asked: tuple[int | None, str | None, bool]
) -> None:
    await world.say(text)
    epoch, level, dry = asked
    assert world.operations.asked == [
        ProposeRollback(run=RUN, user=ANNA, channel="C0TRAIN", to_epoch=epoch, level=level, dry_run=dry)
    ]


@pytest.mark.parametrize(
    "text", ["stop now", "stop after epoch", "resume", "continue because of me", "bring back after-epoch-0002"]
)
async def test_what_only_on_call_may_do_is_refused_to_others(world: World, text: str) -> None:
    with pytest.raises(CommandError, match="only people on call may"):
        await world.say(text, user="U0CLEO")
    assert world.operations.asked == []
    await world.say(text, user="U0BEN")
    assert len(world.operations.asked) == 1


@pytest.mark.parametrize(
    ("typed", "meant"),
    [
        pytest.param("statsu", "status", id="letters swapped"),
        pytest.param("exceute rollback", "execute rollback", id="rollback"),
        pytest.param("epoch 4 progres", "epoch 4 progress", id="epoch"),
        pytest.param("stop", "stop now", id="half a command"),
        pytest.param("hlep", "help", id="help"),
        pytest.param("use", "use digits", id="argument left out"),
        pytest.param("silence", "silence 2h", id="time left out"),
        pytest.param("silence of digits", "silence 2h for digits", id="time left out, run named"),
    ],
)
async def test_a_typo_is_answered_with_the_nearest_and_does_nothing(world: World, typed: str, meant: str) -> None:
    reply = await world.say(typed)
    assert reply.private
    assert reply.message.body == (f"Did you mean /train {meant}?",)
    assert world.operations.asked == []


@pytest.mark.parametrize("text", ["status of my run", "use my run", 'status of "my run"'])
async def test_a_run_may_have_blanks_in_its_name(world: World, text: str) -> None:
    world.runs.views[0] = replace(world.runs.views[0], name="my run")
    assert "my run" in (await world.say(text)).message.title


async def test_an_unknown_run_is_answered_with_the_nearest(world: World) -> None:
    with pytest.raises(CommandError, match=r"no run named 'dgits'. Did you mean 'digits'\?"):
        await world.say("status of dgits")


async def test_help_shows_only_what_the_person_may_do(world: World) -> None:
    mine = (await world.say("help", user="U0ANNA")).message.table
    theirs = (await world.say("help", user="U0CLEO")).message.table
    assert mine is not None
    assert theirs is not None
    assert "/train stop now" in {row[0] for row in mine.rows}
    assert "/train stop now" not in {row[0] for row in theirs.rows}
    named = {row[0] for row in mine.rows}
    of_no_use_now = {f"/train {command.examples[0]}" for command in COMMANDS if command.fits in {Fits.OVER, Fits.ALERT}}
    assert named.isdisjoint(of_no_use_now)
    assert len(named) == len(COMMANDS) - len(of_no_use_now)


async def test_help_names_what_is_of_use_at_another_time_in_small_print(world: World, written: WrittenRun) -> None:
    message = (await world.say("help")).message
    assert "while the run is stopped: resume at 22:00, resume" in message.context
    assert "while an alert fires: explain, ack" in message.context
    written.record(state=RunRecordState.STOPPED)
    world.runs.views, world.alerts.alerts = [_view(written)], [_alert("one")]
    table = (await world.say("help")).message.table
    assert table is not None
    named = {row[0] for row in table.rows}
    assert {"/train resume", "/train ack"} <= named
    assert {"/train stop now", "/train pause"}.isdisjoint(named)


async def test_commands_are_about_the_run_of_the_thread_then_the_chosen_then_the_newest(
    world: World, tmp_path: Path
) -> None:
    world.runs.views += [_view(WrittenRun(tmp_path, "second")), _view(WrittenRun(tmp_path, "third"))]
    world.outbox.keys["C0TRAIN", "1.0"] = "third-0001/nonfinite/attempt1/epoch1"
    assert (await world.say("status")).message.title.startswith("digits")
    await world.say("use second")
    assert (await world.say("status")).message.title.startswith("second")
    assert (await world.say("status", thread_ts="1.0")).message.title.startswith("third")
    world.selection.choose("C0TRAIN", "digits-0001")
    world.outbox.keys["C0TRAIN", "2.0"] = "approval/0a1b"
    assert (await world.say("status", thread_ts="2.0")).message.title.startswith("second")
    assert (await world.say("status of digits")).message.title.startswith("digits")


@pytest.mark.parametrize(
    ("text", "asked"),
    [
        pytest.param("audit", ShowAudit(), id="audit"),
        pytest.param("archive of digits", ShowArchives(run=RUN, user=ANNA), id="archive"),
        pytest.param("bring back x-1", BringBack(run=RUN, user=ANNA, folder="x-1"), id="bring back"),
    ],
)
async def test_records_are_asked_of_operations(world: World, text: str, asked: Order) -> None:
    await world.say(text)
    assert world.operations.asked == [asked]


async def test_an_unknown_run_is_refused_with_the_known_ones(world: World) -> None:
    with pytest.raises(CommandError, match=r"no run named 'nope'. Known: digits"):
        await world.say("status of nope")


async def test_no_runs_at_all_says_how_to_start_one(world: World) -> None:
    world.runs.views = []
    with pytest.raises(CommandError, match="no guarded run"):
        await world.say("status")


def _alert(key: str) -> Alert:
    finding = Finding(
        run="digits-0001",
        check="nonfinite",
        key=key,
        severity=Severity.WARNING,
        nature=Nature.CONDITION,
        ts=START_TS,
        title=f"digits: {key}",
    )
    return Alert(finding=finding, state=AlertState.FIRING, since_ts=START_TS, updated_ts=START_TS, told=True)


async def test_ack_in_a_thread_is_of_that_alert(world: World) -> None:
    world.alerts.alerts = [_alert("one"), _alert("two")]
    world.outbox.keys["C0TRAIN", "2.0"] = world.alerts.alerts[1].fingerprint
    await world.say("ack", thread_ts="2.0")
    assert world.alerts.acked == [(world.alerts.alerts[1].fingerprint, "U0ANNA")]


async def test_ack_that_could_mean_two_alerts_is_refused(world: World) -> None:
    world.alerts.alerts = [_alert("one"), _alert("two")]
    with pytest.raises(CommandError, match="2 alerts are firing"):
        await world.say("ack")
    assert world.alerts.acked == []


@pytest.mark.parametrize(
    ("text", "seconds"),
    [
        ("silence 2h", 7200.0),
        ("silence 30 m", 1800.0),
        ("silence 7d", 604800.0),
        ("silence 1.5h", 5400.0),
        ("silence for half an hour", 1800.0),
        ("silence 1 h 30 min", 5400.0),
    ],
)
async def test_silence_lasts_as_long_as_said(world: World, text: str, seconds: float) -> None:
    world.alerts.alerts = [_alert("one")]
    await world.say(text)
    assert world.alerts.silenced == [(world.alerts.alerts[0].fingerprint, START_TS + 152 + seconds)]


@pytest.mark.parametrize("text", ["silence 0h", "silence 8d", "silence 9999d"])
async def test_a_silence_without_end_is_refused(world: World, text: str) -> None:
    world.alerts.alerts = [_alert("one")]
    with pytest.raises(CommandError, match="at most 7d"):
        await world.say(text)
    assert world.alerts.silenced == []


async def test_a_run_is_silenced_as_a_whole_by_its_name(world: World) -> None:
    reply = await world.say("silence 2h for digits")
    assert "every alert of digits, critical ones too" in reply.message.title
    assert [(one.run, one.until_ts) for one in world.alerts.book] == [("digits-0001", START_TS + 152 + 7200)]


async def test_alerts_shows_what_fires_and_what_is_silenced_until_when(world: World) -> None:
    world.alerts.alerts = [_alert("one"), replace(_alert("two"), acked_by="U0BEN")]
    until_ts = START_TS + 152 + 7200
    world.alerts.silence_where("U0ANNA", until_ts, START_TS, run="digits-0001")
    for text in ("alerts", "alerts of digits"):
        message = (await world.say(text)).message
        assert message.title.startswith("2 alerts firing")
        shown = [f"{item.text} {item.detail}" for item in message.items]
        assert f"silenced until <t:{until_ts:.0f}>" in shown[0]
        assert "acknowledged by <u:U0BEN>" in shown[1]
        assert shown[2] == f"Silence 1: everything of digits until {moment(until_ts)}, by {person('U0ANNA')}"


async def test_alerts_of_a_run_leaves_out_those_of_others(world: World) -> None:
    world.alerts.alerts = [replace(_alert("one"), finding=replace(_alert("one").finding, run="other-0001"))]
    world.alerts.silence_where("U0ANNA", START_TS + 9999, START_TS, run="other-0001")
    message = (await world.say("alerts of digits")).message
    assert (message.title, message.items) == ("Nothing is firing on digits", ())


@pytest.mark.parametrize(
    ("text", "thread_ts", "left"),
    [
        pytest.param("unsilence 2", None, [1, 3], id="by number"),
        pytest.param("unsilence", "2.0", [2, 3], id="in the alert's thread"),
    ],
)
async def test_unsilence_ends_the_one_that_is_meant(
    world: World, text: str, thread_ts: str | None, left: list[int]
) -> None:
    world.alerts.alerts = [_alert("one")]
    world.outbox.keys["C0TRAIN", "2.0"] = _alert("one").fingerprint
    for run in ("digits-0001", "second", "third"):
        world.alerts.silence_where("U0ANNA", START_TS + 9999, START_TS, run=run)
    reply = await world.say(text, thread_ts=thread_ts)
    assert reply.message.title.endswith(": heard again")
    assert [one.id for one in world.alerts.book] == left


@pytest.mark.parametrize(
    ("text", "runs", "words"),
    [
        pytest.param("unsilence", [], "nothing is silenced", id="none"),
        pytest.param("unsilence", ["a", "b"], "2 silences hold", id="several"),
        pytest.param("unsilence 9", ["a"], "there is no silence 9", id="unknown number"),
    ],
)
async def test_unsilence_that_means_no_one_silence_is_refused(
    world: World, text: str, runs: list[str], words: str
) -> None:
    for run in runs:
        world.alerts.silence_where("U0ANNA", START_TS + 9999, START_TS, run=run)
    with pytest.raises(CommandError, match=words):
        await world.say(text)
    assert len(world.alerts.book) == len(runs)


@pytest.fixture
def twins(world: World, tmp_path: Path) -> tuple[WrittenRun, WrittenRun]:
    """Two runs of one name in different projects, beside the one that is there."""
    first, second = WrittenRun(tmp_path / "a", "exp"), WrittenRun(tmp_path / "b", "exp")
    second.run = "exp-0002"
    second.record()
    world.runs.views += [_view(first), _view(second)]
    return first, second


async def test_a_name_of_two_runs_is_refused_and_both_are_named(
    world: World, twins: tuple[WrittenRun, WrittenRun]
) -> None:
    with pytest.raises(CommandError, match="2 runs are named 'exp': a/exp, b/exp"):
        await world.say("status of exp")


async def test_runs_of_one_name_are_listed_with_their_paths(world: World, twins: tuple[WrittenRun, WrittenRun]) -> None:
    table = (await world.say("runs")).message.table
    assert table is not None
    assert [row[0] for row in table.rows] == ["digits", "a/exp", "b/exp"]


async def test_an_id_names_one_of_two_runs(world: World, twins: tuple[WrittenRun, WrittenRun]) -> None:
    reply = await world.say("use exp-0002")
    assert "b/exp" in reply.message.title
    assert world.selection.runs == {"C0TRAIN": "exp-0002"}


async def test_ack_in_the_thread_of_a_run_takes_every_alert_on_it(world: World) -> None:
    other = replace(_alert("one"), finding=replace(_alert("one").finding, run="other-0001"))
    owned = replace(_alert("three"), acked_by="U0BEN")
    world.alerts.alerts = [_alert("one"), _alert("two"), owned, other]
    world.outbox.keys["C0TRAIN", "2.0"] = card_key("digits-0001")
    reply = await world.say("ack", thread_ts="2.0")
    assert reply.message.title.endswith("2 alerts of this run")
    assert reply.message.body == ("digits: one", "digits: two")
    assert [fingerprint for fingerprint, _ in world.alerts.acked] == [_alert(key).fingerprint for key in ("one", "two")]
