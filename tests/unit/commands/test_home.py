"""App Home says what is going on and what waits for the one who looks; ``explain`` says what an alert means."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest

from tests.support.clocks import SetClock
from tests.support.run_dirs import START_TS, WrittenRun
from tests.support.worlds import ANNA, BEN, CommandWorld, FakeRoles, FakeRuns, nonfinite_alert
from trainmaster.bot.core.alerts.explanations import explanation_of
from trainmaster.bot.core.alerts.finding import Severity
from trainmaster.bot.core.check_name import CheckName, ForeignCheck
from trainmaster.bot.core.conversation.message import Message, Tone
from trainmaster.bot.core.conversation.request import Origin, Request
from trainmaster.bot.core.conversation.standing import Standing
from trainmaster.bot.core.decisions.change import Change, Proposal
from trainmaster.bot.core.run.view import RunView
from trainmaster.bot.errors import ChatError, CommandError
from trainmaster.bot.reading.run_files import RunReader
from trainmaster.bot.slack.home import home_view
from trainmaster.bot.slack.limits import HOME_BLOCKS
from trainmaster.bot.workspace.blocks.message import read_home
from trainmaster.commands import COMMANDS, dispatch
from trainmaster.commands.home import MAX_RUNS, home


@pytest.fixture
def view(tmp_path: Path) -> RunView:
    run = WrittenRun(tmp_path)
    run.start_epoch(1, 0)
    run.beat(50, epoch=1, batch=50)
    return RunReader(run.layout.root, first_seen_ts=START_TS).read(START_TS + 60)


def world(*views: RunView) -> CommandWorld:
    return CommandWorld(runs=FakeRuns(list(views)), clock=SetClock(START_TS + 60))


def text(parts: tuple[Message, ...]) -> str:
    return "\n".join(
        line for part in parts for line in (part.title, *part.body, *(f"{i.text} {i.detail}" for i in part.items))
    )


async def test_a_quiet_home_says_so_and_names_who_is_on_call(view: RunView) -> None:
    parts = await home(ANNA, world(view).context)
    assert [part.title for part in parts] == [
        "Nothing waits for you",
        "Nothing is firing",
        "1 run, 0 at work",
        "On call",
    ]
    assert "epoch 1 of 4" in text(parts)
    assert ANNA in text(parts)


async def test_what_nobody_has_waits_for_people_on_call_and_for_nobody_else(view: RunView) -> None:
    here = world(view)
    here.alerts.alerts = [nonfinite_alert()]
    mine, theirs = await home(ANNA, here.context), await home("U0CLEO", here.context)
    assert (mine[0].title, mine[0].tone) == ("1 thing waits for you", Tone.CRITICAL)
    assert (mine[1].title, mine[1].tone) == ("Nothing else is firing", Tone.GOOD)
    assert theirs[0].title == "Nothing waits for you"
    assert (theirs[1].title, theirs[1].tone) == ("1 alert firing", Tone.CRITICAL)
    assert text(mine).count(nonfinite_alert().finding.title) == 1
    assert mine[0].items[0] == theirs[1].items[0]
    here.alerts.alerts = [nonfinite_alert(), nonfinite_alert(Severity.WARNING)]
    assert [part.title for part in await home(ANNA, here.context)][:2] == [
        "1 thing waits for you",
        "1 more alert firing",
    ]
    here.alerts.alerts = [replace(nonfinite_alert(), acked_by=BEN)]
    assert (await home(ANNA, here.context))[0].title == "Nothing waits for you"


async def test_all_that_waits_is_counted_and_the_first_of_it_stands_on_top(view: RunView) -> None:
    here = world(view)
    one = nonfinite_alert()
    here.alerts.alerts = [replace(one, finding=replace(one.finding, key=f"attempt{number}")) for number in range(100)]
    waiting, firing, *_ = await home(ANNA, here.context)
    assert (waiting.title, len(waiting.items)) == ("100 things wait for you", 5)
    assert waiting.context == ("95 of them stand below",)
    assert firing.title == "95 more alerts firing"


async def test_every_open_question_waits_and_a_planned_resume_is_told(view: RunView) -> None:
    here = world(view)
    asked = Proposal(
        id="change-1",
        run=view.run,
        name=view.name,
        attempt=1,
        process="",
        changes=(Change(key="epochs", before="100", after="150"),),
        requester=BEN,
        channel=None,
        thread_of=None,
        created_ts=START_TS,
        expires_ts=START_TS + 3600,
    )
    here.alerts.alerts = [nonfinite_alert()]
    plans = ("Planned: it will be resumed at ten.", "Open question: epochs 100 → 150, asked for by Ben.")
    context = replace(
        here.context,
        proposals=lambda: (asked,),
        concerned=lambda: frozenset({view.run}),
        planned=lambda _: plans,
    )
    parts = await home(ANNA, context)
    assert parts[0].title == "2 things wait for you"
    assert parts[0].items[0].text == f"{view.name}: go on with epochs 100 → 150?"
    assert "planned: it will be resumed at ten" in text(parts)
    assert "Open question" not in text(parts)
    voted = replace(context, proposals=lambda: (replace(asked, votes=(ANNA,)),))
    assert (await home(ANNA, voted))[0].title == "1 thing waits for you"


async def test_nothing_waits_for_a_guest_whom_somebody_put_on_the_list(view: RunView) -> None:
    here = world(view)
    here.alerts.alerts = [nonfinite_alert()]
    here.roles = FakeRoles(standings={ANNA: Standing.GUEST})
    assert (await home(ANNA, here.context))[0].title == "Nothing waits for you"


async def test_a_warning_waits_for_nobody(view: RunView) -> None:
    here = world(view)
    here.alerts.alerts = [nonfinite_alert(Severity.WARNING)]
    assert (await home(ANNA, here.context))[0].title == "Nothing waits for you"


@pytest.mark.parametrize("number", [0, 1, MAX_RUNS, 1000])
async def test_a_home_of_any_number_of_runs_is_one_that_slack_takes(view: RunView, number: int) -> None:
    views = [replace(view, name=f"{'n' * 200}-{one}", directory=view.directory / str(one)) for one in range(number)]
    here = world(*views)
    here.alerts.alerts = [nonfinite_alert()] * 40
    page = home_view(await home(ANNA, here.context))
    assert len(read_home(page)["blocks"]) <= HOME_BLOCKS
    if number == 1000:
        assert "940 more: /train runs" in str(page)


async def test_a_home_without_slack_s_answer_on_who_is_on_call_is_a_home_all_the_same(view: RunView) -> None:
    here = world(view)
    here.chat.fault = ChatError("slack-unreachable", "reset")
    assert (await home(ANNA, here.context))[-1].title == "Who is on call can't be told now"


# -- explain


async def _explain(here: CommandWorld, *, thread_ts: str | None = None) -> Message:
    request = Request(origin=Origin.THREAD, user=ANNA, channel="C1", text="explain", thread_ts=thread_ts)
    reply = await dispatch(request, here.context, COMMANDS)
    assert reply.private
    return reply.message


async def test_an_alert_is_explained_in_its_thread(view: RunView) -> None:
    here = world(view)
    here.alerts.alerts = [nonfinite_alert()]
    here.outbox.keys["C1", "2.0"] = nonfinite_alert().fingerprint
    message = await _explain(here, thread_ts="2.0")
    assert message.title == "digits: loss is not finite"
    assert message.body[0].startswith("What it means: a batch was bad.")
    assert message.body[1].startswith("What to do: ")


async def test_a_message_of_somebody_else_is_none_to_explain(view: RunView) -> None:
    with pytest.raises(CommandError, match="none of mine"):
        await _explain(world(view), thread_ts="9.0")


def test_every_alert_has_an_explanation_and_a_foreign_one_has_none() -> None:
    lacking = [check for check in CheckName if explanation_of(check) is None]
    assert lacking == [], "each has its entry in bot/core/alerts/explanations.py"
    assert explanation_of(ForeignCheck("of another version")) is None
