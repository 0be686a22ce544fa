"""The real app, with the real Bolt library, against the workspace; the trainer is a written run directory."""

from __future__ import annotations

import asyncio
import os
import signal
import sys
import time
from typing import Any

import pytest

from tests.integration.bot.world import ANSWER_S, CHANNEL, World, now_s, text_of
from tests.support.run_dirs import WrittenRun
from trainmaster.bot.app import App
from trainmaster.bot.core.run.launch_spec import LaunchSpec
from trainmaster.bot.errors import ChatError, StoreError
from trainmaster.bot.settings.model import load_settings
from trainmaster.bot.slack.connection import SlackConnection
from trainmaster.bot.workspace.page.client import PageView
from trainmaster.trainer.contract import EventKind, Phase


async def test_a_bad_batch_reaches_the_channel_and_its_resolution_edits_the_message(world: World) -> None:
    await world.start_bot()
    world.run.bad_batch(1, 42, now_s())
    alert = await world.see("loss is not finite in epoch 1, batch 42 of 100", "img_0001.png", '"ack"')
    world.run.beat(now_s(), epoch=1, batch=99)
    resolved = await world.see("is healthy again", timeout_s=40)
    assert resolved["ts"] == alert["ts"]
    assert "edited" in resolved
    assert '"ack"' not in text_of(resolved)


async def test_the_same_words_work_as_slash_command_mention_thread_reply_and_direct_message(world: World) -> None:
    await world.start_bot()
    title = "digits: training, epoch 1 of 4, batch 10 of 100"
    assert (await world.page.slash("anna", "/train", "status", CHANNEL)).ok
    await world.see(title)

    await world.page.say("ben", CHANNEL, "@trainmaster status")
    await world.page.wait_for(
        lambda view: len([one for one in view.in_channel(CHANNEL) if title in text_of(one)]) == 2, ANSWER_S
    )

    world.run.bad_batch(1, 42, now_s())
    alert = await world.see("loss is not finite")
    await world.page.say("anna", CHANNEL, "epoch 1 progress", thread_ts=alert["ts"])
    await world.page.wait_for(lambda view: _replies(view, alert["ts"], "epoch 1 of 4, running"), ANSWER_S)

    await world.page.say("cleo", "dm", "status")
    await world.page.wait_for(
        lambda view: [one for one in view.messages if one["channel"].startswith("D") and title in text_of(one)],
        ANSWER_S,
    )


def _replies(view: PageView, thread_ts: str, *words: str) -> list[dict[str, Any]]:
    return [
        one
        for one in view.in_channel(CHANNEL)
        if one.get("thread_ts") == thread_ts and all(word in text_of(one) for word in words)
    ]


async def test_what_may_not_be_is_refused_to_that_person_alone(world: World) -> None:
    await world.start_bot()
    await world.page.slash("cleo", "/train", "stop now", CHANNEL)
    await world.told("U0CLEO", "Only people on call may stop a run", "U0BEN")
    await world.page.slash("anna", "/train", "epoch 77 progress", CHANNEL)
    await world.told("U0ANNA", "has no epoch 77")
    await world.page.slash("anna", "/train", "statsu", CHANNEL)
    await world.told("U0ANNA", "Did you mean /train status?")
    assert [one for one in await world.page.messages(CHANNEL) if "epoch 77" in text_of(one)] == []


async def test_a_restart_repeats_nothing_and_tells_what_was_missed(world: World) -> None:
    app = await world.start_bot()
    world.run.finish_epoch(1, now_s())
    await world.see("epoch 1 of 4 finished")
    await app.close()
    world.run.finish_epoch(2, now_s())
    world.run.bad_batch(3, 7, now_s())
    await world.start_bot()
    await world.see("epoch 2 of 4 finished")
    await world.see("epoch 3, batch 7")
    reports = [one for one in await world.page.messages(CHANNEL) if "epoch 1 of 4 finished" in text_of(one)]
    assert len(reports) == 1


async def test_history_from_before_the_first_look_is_not_told(world: World) -> None:
    world.run.finish_epoch(1, now_s() - 3600)
    world.run.event(EventKind.OUT_OF_MEMORY, now_s(), batch_size_before=16, batch_size_after=8)
    await world.start_bot()
    await world.see("halved the batch size from 16 to 8")
    assert [one for one in await world.page.messages(CHANNEL) if "epoch 1 of 4 finished" in text_of(one)] == []


async def test_an_acknowledged_alert_names_who_has_it(world: World) -> None:
    await world.start_bot()
    world.run.bad_batch(1, 42, now_s())
    alert = await world.see("loss is not finite", '"ack"')
    await world.page.click("ben", alert["ts"], "ack", CHANNEL)
    acked = await world.see("loss is not finite", "cknowledged", "U0BEN", '"silence"')
    assert acked["ts"] == alert["ts"]


async def test_a_rollback_without_a_clean_checkpoint_is_refused(world: World) -> None:
    await world.start_bot()
    await world.page.slash("anna", "/train", "execute rollback", CHANNEL)
    await world.told("U0ANNA", "checkpoint")
    assert [one for one in await world.page.messages(CHANNEL) if '"approve"' in text_of(one)] == []


async def test_messages_wait_while_slack_is_away_and_come_when_it_is_back(world: World) -> None:
    await world.start_bot()
    await world.workspace.go_down()
    world.run.bad_batch(1, 42, now_s())
    await asyncio.sleep(1.5)  # the look and a failed try happen in this time; nothing else can tell
    await world.workspace.come_up()
    await world.see("loss is not finite", '"ack"', timeout_s=30)
    alerts = [one for one in await world.page.messages(CHANNEL) if "loss is not finite" in text_of(one)]
    assert len([one for one in alerts if '"ack"' in text_of(one)]) == 1


async def test_a_second_bot_on_the_same_state_is_refused(world: World) -> None:
    await world.start_bot()
    with pytest.raises(StoreError, match=f"another Trainmaster \\(pid {os.getpid()}\\) uses"):
        App(world.settings)


@pytest.mark.parametrize(
    ("change", "words"),
    [
        pytest.param({"slack_bot_token": "xoxb-wrong"}, "invalid_auth", id="wrong token"),
        pytest.param({"alert_channel": "#nowhere"}, "nowhere", id="no such channel"),
    ],
)
async def test_what_slack_refuses_at_the_start_is_said(world: World, change: dict[str, str], words: str) -> None:
    given = {
        "SLACK_BOT_TOKEN": world.workspace.bot_token,
        "SLACK_APP_TOKEN": world.workspace.app_token,
        "SLACK_API_URL": world.workspace.api_url,
        "ALERT_CHANNEL": "#training",
        "RUNS_DIR": str(world.settings.runs_dir),
        "STATE_DIR": str(world.settings.state_dir),
        **{name.upper(): value for name, value in change.items()},
    }
    world.settings = load_settings(given)
    with pytest.raises(ChatError, match=words):
        await world.start_bot()


async def test_a_killed_trainer_is_told_with_its_signal_and_its_last_words(world: World) -> None:
    app = await world.start_bot()
    world.run.layout.train_log.write_text("epoch 1\nabout to die\n")
    child = app.driver.launch(
        LaunchSpec(
            key="test",
            argv=(sys.executable, "-c", "import time; time.sleep(600)"),
            cwd=world.settings.state_dir,
            log=world.settings.state_dir / "child.log",
            env=dict(os.environ),
        )
    )
    world.run.record(pid=child.pid)
    world.run.beat(now_s(), epoch=1, batch=11)
    await app.supervisor.tick()
    os.kill(child.pid, signal.SIGKILL)
    dead = await world.see("the training process died at epoch 1, batch 11", "signal 9, SIGKILL", "about to die")
    assert "no progress" not in text_of(dead)


async def test_a_stall_is_told_by_its_phase(world: World) -> None:
    world.run.record(started_ts=time.time() - 7200)
    world.run.beat(now_s() - 3600, epoch=1, batch=0, phase=Phase.FIRST_BATCH)
    await world.start_bot()
    await world.see("no progress for 60 min", "first batch", "the limit is 30 min")


async def test_a_database_that_cannot_be_written_is_told_and_alerts_go_on(world: World) -> None:
    app = await world.start_bot()
    app.database.execute("PRAGMA query_only=ON")  # what a full disk or a lost mount does to every write
    world.run.bad_batch(1, 42, now_s())
    await world.see("Trainmaster can't write its database", "rollbacks are refused")
    await world.see("loss is not finite in epoch 1, batch 42")
    await world.page.slash("anna", "/train", "status", CHANNEL)
    await world.see("digits: training, epoch 1 of 4")
    app.database.execute("PRAGMA query_only=OFF")


def _environment(world: World) -> dict[str, str]:
    ours = {name: value for name, value in os.environ.items() if not name.startswith("SLACK_")}
    return {
        **ours,
        "SLACK_BOT_TOKEN": world.workspace.bot_token,
        "SLACK_APP_TOKEN": world.workspace.app_token,
        "SLACK_API_URL": world.workspace.api_url,
        "ALERT_CHANNEL": "C0TRAIN",
        "RUNS_DIR": str(world.settings.runs_dir),
        "STATE_DIR": str(world.settings.state_dir),
        "CHECK_INTERVAL_S": "0.5",
    }


@pytest.mark.parametrize("signum", [signal.SIGTERM, signal.SIGINT])
async def test_python_m_bot_run_answers_and_ends_quietly_on_a_signal(world: World, signum: signal.Signals) -> None:
    process = await asyncio.create_subprocess_exec(
        *(sys.executable, "-m", "trainmaster.bot", "run"),
        env=_environment(world),
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.STDOUT,
    )
    try:
        await world.page.wait_for(lambda view: view.app_connected, 30)
        await world.page.slash("anna", "/train", "status", CHANNEL)
        await world.see("digits: training, epoch 1 of 4")
        process.send_signal(signum)
        output, _ = await asyncio.wait_for(process.communicate(), 20)
    finally:
        if process.returncode is None:
            process.kill()
            await process.wait()
    assert process.returncode == 0, output
    assert b"Traceback" not in output, output


async def test_python_m_bot_run_names_every_setting_that_is_wrong_and_starts_nothing(world: World) -> None:
    environment = _environment(world) | {
        "SLACK_BOT_TOKEN": "xapp-swapped",
        "APPROVALS_REQUIRED": "many",
        "RUNS_DIR": "/no/x",
    }
    process = await asyncio.create_subprocess_exec(
        *(sys.executable, "-m", "trainmaster.bot", "run"),
        env=environment,
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.STDOUT,
    )
    output, _ = await asyncio.wait_for(process.communicate(), 30)
    assert process.returncode == 2
    for name in (b"SLACK_BOT_TOKEN", b"APPROVALS_REQUIRED", b"RUNS_DIR"):
        assert name in output
    assert b"xapp-swapped" not in output


ODD_NAMES = {
    "no UTF-8": b"odd-\xff\xfe",
    "half a surrogate": "odd-\ud800".encode("utf-8", "surrogatepass"),
    "newline": b"odd\n[ERROR] forged line",
    "255 bytes": "ö".encode() * 127 + b"x",
    "control characters": b"odd-\x1b[2J\x07\x7f",
    "mention": b"<!channel> <@U0ANNA>",
}


async def test_folders_with_any_name_neither_end_the_bot_nor_hide_one_another(world: World) -> None:
    runs = []
    for name in ODD_NAMES.values():
        runs.append(WrittenRun(world.settings.runs_dir, os.fsdecode(name)))
        runs[-1].start_epoch(1, now_s())
        runs[-1].beat(now_s(), epoch=1, batch=10)
    app = await world.start_bot()
    assert len(app.supervisor.all()) == len(ODD_NAMES) + 1
    for run in runs:
        run.bad_batch(1, 42, now_s())
    world.run.bad_batch(1, 42, now_s())

    def told(view: PageView) -> bool:
        return len([one for one in view.in_channel(CHANNEL) if "is not finite" in text_of(one)]) == len(runs) + 1

    await world.page.wait_for(told, 60)
    assert not any(task.done() for task in app._tasks)
    assert app.supervisor.take_look_faults() == ()


async def test_an_answer_of_slacks_that_nobody_thought_of_ends_no_start(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    faults: list[Exception] = [RecursionError("deep"), KeyError("url"), MemoryError()]
    sign_in, connect = SlackConnection.sign_in, SlackConnection.connect

    async def failing_first(self: SlackConnection) -> Any:
        if len(faults) > 1:
            raise faults.pop()
        return await sign_in(self)

    async def failing_then(self: SlackConnection, handler: Any) -> Any:
        if faults:
            raise faults.pop()
        return await connect(self, handler)

    monkeypatch.setattr(SlackConnection, "sign_in", failing_first)
    monkeypatch.setattr(SlackConnection, "connect", failing_then)
    await world.start_bot()
    assert faults == []
    await world.page.slash("anna", "/train", "status", CHANNEL)
    await world.see("digits: training")


@pytest.mark.parametrize("fault", [RecursionError("deep"), asyncio.CancelledError(), SystemExit(1)], ids=repr)
async def test_what_keeps_the_socket_open_survives_whatever_happens_in_it(
    world: World, monkeypatch: pytest.MonkeyPatch, fault: BaseException
) -> None:
    monkeypatch.setattr("trainmaster.bot.service.for_ever.FIRST_PAUSE_S", 0.05)
    faults, again = [fault], asyncio.Event()

    def alive(self: SlackConnection) -> bool:
        if faults:
            raise faults.pop()
        again.set()
        return True

    monkeypatch.setattr(SlackConnection, "alive", alive)
    await world.start_bot()
    await asyncio.wait_for(again.wait(), ANSWER_S)
