"""Whose a run is: who is called by its alerts, and who never is, whatever its files say."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path

import pytest

from tests.unit.bot.alerting.fakes import NOW, RUN, Desk, finding
from trainmaster.bot.alerting.limits import AlertLimits, Audience
from trainmaster.bot.alerting.owners import Owners
from trainmaster.bot.core.alerts.finding import Finding, Nature, Severity
from trainmaster.bot.core.conversation.standing import Standing
from trainmaster.bot.core.run.facts import RunRecord
from trainmaster.bot.core.run.owner import OwnerRule, owner_of
from trainmaster.bot.core.run.view import RunView
from trainmaster.bot.storage.bot_state import BotState
from trainmaster.bot.storage.database import Database

ONCALL, OWNER, THIRD = "U1", "U7OWNER", "U8THIRD"
STRANGER = "owned by uid 1000"
RULES = (
    OwnerRule(pattern="night-*", user=OWNER),
    OwnerRule(pattern="@anna", user=THIRD),
)


@dataclass
class FakeDirectory:
    """A workspace in which these people are what they are."""

    people: Mapping[str, Standing] = field(default_factory=dict)
    members: frozenset[str] = frozenset()
    names: dict[str, str] = field(default_factory=dict)
    asked: list[str] = field(default_factory=list)

    async def standing(self, user: str) -> Standing:
        self.asked.append(user)
        self.names[user] = f"Name of {user}"
        return self.people.get(user, Standing.UNKNOWN)

    async def is_member(self, user: str) -> bool:
        return user in self.members


def view(name: str = RUN, *, owner: str | None = None, **changes: object) -> RunView:
    base = RunView(
        directory=Path("runs") / name, name=name, ts=NOW, first_seen_ts=NOW, record=RunRecord(run=name, owner=owner)
    )
    return replace(base, **changes)  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("seen", "owner"),
    [
        pytest.param(view("night-1"), OWNER, id="by name"),
        pytest.param(view("day"), None, id="nobody's"),
        pytest.param(view("day", login="anna"), THIRD, id="by login"),
        pytest.param(view("night-1", login="anna"), OWNER, id="a name before a login"),
        pytest.param(view("night-1", owner=ONCALL), ONCALL, id="who started it before both"),
        pytest.param(view("night-1", owner="U0NOBODY"), OWNER, id="an id that nobody vouches for"),
        pytest.param(view("night-1", owner="<!channel>"), OWNER, id="no id at all"),
        pytest.param(view("night-1", watched_only=STRANGER), None, id="a stranger's name"),
        pytest.param(view("night-1", owner=ONCALL, watched_only=STRANGER), None, id="a stranger's file"),
        pytest.param(view("day", login="anna", watched_only=STRANGER), THIRD, id="a stranger's login"),
        pytest.param(view("night-1", record=None), OWNER, id="no record yet"),
    ],
)
def test_who_owns_a_run(seen: RunView, owner: str | None) -> None:
    assert owner_of(seen, RULES, {ONCALL}) == owner


@pytest.mark.parametrize(
    ("standing", "in_channel", "believed"),
    [
        (Standing.MEMBER, True, True),
        (Standing.MEMBER, False, False),
        (Standing.GUEST, True, False),
        (Standing.FOREIGN, True, False),
        (Standing.GONE, True, False),
        (Standing.BOT, True, False),
        (Standing.UNKNOWN, True, False),
    ],
)
async def test_an_id_in_a_file_calls_full_members_of_the_alert_channel_only(
    standing: Standing, in_channel: bool, believed: bool
) -> None:
    people = FakeDirectory({THIRD: standing}, frozenset({THIRD} if in_channel else ()))
    owners = Owners(rules=(), trusted=(), people=people)
    seen = view(owner=THIRD)
    owners.note(seen)
    assert owners.of(RUN) is None
    await owners.learn([seen], NOW)
    assert owners.of(RUN) == (THIRD if believed else None)


@pytest.mark.parametrize(
    ("owner", "watched_only"),
    [
        pytest.param("U9STRANGER", STRANGER, id="a stranger's run"),
        pytest.param("x" * 1_000_000, "", id="a million letters"),
        pytest.param("U1\nfatal: the disk is full", "", id="a line for the log"),
        pytest.param("<!channel>", "", id="everybody"),
    ],
)
async def test_slack_is_not_asked_about_what_can_be_no_owner(owner: str, watched_only: str) -> None:
    people = FakeDirectory({THIRD: Standing.MEMBER}, frozenset({THIRD}))
    owners = Owners(rules=(), trusted=(), people=people)
    others = [view(f"odd-{number}", owner=f"{owner}{number}", watched_only=watched_only) for number in range(3)]
    await owners.learn([*others, view(owner=THIRD)], NOW)
    assert set(people.asked) == {THIRD}
    assert owners.of(RUN) == THIRD


async def test_who_leaves_the_channel_is_believed_no_more(tmp_path: Path) -> None:
    people = FakeDirectory({THIRD: Standing.MEMBER}, frozenset({THIRD}))
    owners = Owners(rules=(), trusted=(), people=people)
    await owners.learn([view(owner=THIRD)], NOW)
    people.members = frozenset()
    await owners.learn([view(owner=THIRD)], NOW + 61)
    assert owners.of(RUN) is None


async def test_slack_is_asked_at_once_and_then_now_and_then() -> None:
    people = FakeDirectory({THIRD: Standing.MEMBER}, frozenset({THIRD}))
    owners = Owners(rules=(), trusted=(), people=people)
    for second in range(0, 121, 5):
        await owners.learn([view(owner=THIRD), view("other", owner="U0NOBODY")], NOW + second)
    assert people.asked.count(THIRD) == 3
    assert people.asked.count("U0NOBODY") == 9


async def test_who_was_believed_is_called_by_the_first_alert_after_a_restart(tmp_path: Path) -> None:
    database = Database(tmp_path / "db.sqlite3")
    people = FakeDirectory({THIRD: Standing.MEMBER}, frozenset({THIRD}))
    before = Owners(rules=(), trusted=(), people=people, memory=BotState(database))
    await before.learn([view(owner=THIRD)], NOW)
    after = Owners(rules=(), trusted=(), people=FakeDirectory(), memory=BotState(database))
    after.note(view(owner=THIRD))
    assert after.of(RUN) == THIRD
    await after.learn([view(owner=THIRD)], NOW + 100)  # Slack knows nothing of them any more
    assert after.of(RUN) is None
    database.close()


async def test_an_id_that_the_settings_name_is_believed_without_asking() -> None:
    owners = Owners(rules=RULES, trusted=(ONCALL,), people=FakeDirectory())
    for user in (ONCALL, OWNER, THIRD):
        owners.note(view(owner=user))
        assert owners.of(RUN) == user


async def test_a_name_calls_nobody_once_slack_told_it() -> None:
    owners = Owners(rules=RULES, trusted=(), people=FakeDirectory())
    owners.note(view("night-1"))
    assert OWNER in owners.name("night-1")
    await owners.learn([view("night-1")], NOW)
    assert owners.name("night-1") == f"Name of {OWNER}"
    assert owners.name("day") == ""


def desk(owner: str = OWNER) -> Desk:
    owners = Owners(rules=(OwnerRule(pattern=RUN, user=owner),), trusted=(), people=FakeDirectory())
    return Desk(AlertLimits(hold_warning_s=0.0), Audience(on_call=(ONCALL,), owners=owners))


def mentioned(told: Desk, one: Finding) -> tuple[str, ...]:
    told.look(one)
    return told.wanted()[one.fingerprint].mentions


def test_a_critical_alert_calls_on_call_and_owner() -> None:
    assert mentioned(desk(), finding()) == (ONCALL, OWNER)


def test_an_owner_who_is_on_call_is_called_once() -> None:
    assert mentioned(desk(ONCALL), finding()) == (ONCALL,)


def test_a_warning_calls_the_owner_alone() -> None:
    assert mentioned(desk(), finding(severity=Severity.WARNING)) == (OWNER,)


def test_information_calls_nobody() -> None:
    report = finding(severity=Severity.INFO, nature=Nature.OCCURRENCE)
    assert mentioned(desk(), report) == ()


def test_another_run_s_owner_is_not_called() -> None:
    told = desk()
    other = replace(finding(), run="other", title="other: stalled")
    told.pipeline.process(view("other"), [other], NOW)
    assert told.wanted()[other.fingerprint].mentions == (ONCALL,)


@pytest.mark.parametrize("severity", [Severity.WARNING, Severity.CRITICAL])
def test_an_edit_of_an_alert_calls_whom_its_first_telling_called_and_nobody_once_it_is_owned(
    severity: Severity,
) -> None:
    told = desk()
    before = mentioned(told, finding(severity=severity))
    told.send_all()
    told.look(finding(severity=severity, body=("worse",)), after_s=60.0)
    shown = told.messages.read(finding().fingerprint)
    assert shown is not None
    assert (shown.body, shown.mentions) == (("worse",), before)
    told.pipeline.ack(finding().fingerprint, OWNER, told.clock.ts)
    shown = told.messages.read(finding().fingerprint)
    assert shown is not None
    assert shown.mentions == ()


def test_a_warning_that_becomes_critical_calls_on_call_then() -> None:
    told = desk()
    assert mentioned(told, finding(severity=Severity.WARNING)) == (OWNER,)
    told.send_all()
    told.look(finding(), after_s=5.0)
    calls = [one.mentions for one in told.wanted().values() if one.mentions]
    assert (ONCALL, OWNER) in calls
