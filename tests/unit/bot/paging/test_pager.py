"""Who is called beyond Slack, when, how often, and what a restart or a broken target changes."""

from __future__ import annotations

import asyncio
import threading
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest

from tests.unit.bot.alerting.fakes import RUN, Desk, finding
from trainmaster.bot.core.alerts.finding import Severity
from trainmaster.bot.core.alerts.page import PageKind
from trainmaster.bot.errors import TrainmasterError
from trainmaster.bot.paging.faults import PageUnsureError
from trainmaster.bot.paging.limits import PagingLimits
from trainmaster.bot.paging.pager import Pager, Ways
from trainmaster.bot.paging.target import PageTarget, read_targets
from trainmaster.bot.storage.pages import PageStore

LIMITS = PagingLimits(page_after_s=600.0, page_slack_away_s=120.0, page_per_hour=3)
SERVICE = "pagerduty://key@api"
ANNA, BEN = "U0ANNA=ntfy://anna", "U0BEN=ntfy://ben"


@dataclass
class FakePhones:
    """Takes every page but those of the targets that are ``broken``, once ``answers`` is set."""

    rang: list[tuple[str, PageKind, str, str]] = field(default_factory=list)
    broken: set[str] = field(default_factory=set)
    unsure: set[str] = field(default_factory=set)
    called: list[str] = field(default_factory=list)
    answers: threading.Event = field(default_factory=threading.Event)

    def __post_init__(self) -> None:
        self.answers.set()

    def send(self, target: PageTarget, *, incident: str, kind: PageKind, title: str, body: str) -> None:
        self.called.append(target.label)
        assert self.answers.wait(60)
        if target.name in self.unsure:
            raise PageUnsureError("page-unanswered", f"{target.name} did not answer; it may have rung.")
        if target.name in self.broken:
            raise TrainmasterError("page-not-taken", f"{target.name} did not take the page.")
        assert body
        self.rang.append((target.name, kind, title, incident))

    @property
    def names(self) -> list[str]:
        return [name for name, kind, _, _ in self.rang if kind is PageKind.FIRED]


class Office:
    """A pager beside a real pipeline on a real database."""

    def __init__(self, *targets: str, path: Path = Path(":memory:"), limits: PagingLimits = LIMITS) -> None:
        self.desk = Desk(path=path)
        self.phones = FakePhones()
        self.muted: set[str] = set()
        self.notes: list[tuple[str, str | None]] = []
        self.minute = 12 * 60
        self.targets = read_targets(" ".join(targets))
        self.limits = limits
        self.pager = self.new_pager()

    def new_pager(self) -> Pager:
        async def muted(user: str) -> bool | None:
            return user in self.muted

        return Pager(
            targets=self.targets,
            alerts=self.desk.pipeline,
            pages=PageStore(self.desk.database),
            sender=self.phones,
            ways=Ways(
                sent_ts=self.desk.messages.sent_ts,
                muted=muted,
                note=lambda name, fault: self.notes.append((name, fault)),
            ),
            clock=self.desk.clock,
            limits=self.limits,
            minute=lambda _: self.minute,
        )

    def fire(self, check: str = "stalled", *, in_slack: bool = True, **changes: object) -> str:
        one = finding(check, ts=self.desk.clock.ts, **changes)
        self.desk.look(one)
        if in_slack:
            self.desk.send_all()
        return one.fingerprint

    async def after(self, seconds: float) -> list[str]:
        """Who was called in that time by ticks of 5 s."""
        before = len(self.phones.names)
        until = self.desk.clock.ts + seconds
        while self.desk.clock.ts < until:
            self.desk.clock.pass_s(min(5.0, until - self.desk.clock.ts))
            await self.pager.tick()
        return self.phones.names[before:]

    async def until_rung(self, pages: int) -> None:
        """So many pages in all were taken, and their threads are free."""
        for _ in range(60_000):
            if len(self.phones.rang) == pages:
                return
            await asyncio.sleep(0.001)
        pytest.fail(f"{len(self.phones.rang)} of {pages} pages were taken")


async def test_nobody_is_called_while_somebody_may_still_acknowledge() -> None:
    office = Office(SERVICE, ANNA)
    office.fire()
    assert await office.after(599.0) == []
    assert sorted(await office.after(5.0)) == ["ntfy of U0ANNA", "pagerduty"]


async def test_an_acknowledged_a_silenced_and_a_lesser_alert_call_nobody() -> None:
    office = Office(SERVICE)
    acked = office.fire("stalled")
    office.desk.pipeline.ack(acked, "U1", office.desk.clock.ts)
    silenced = office.fire("process.died")
    office.desk.pipeline.silence(silenced, "U1", office.desk.clock.ts + 7200, office.desk.clock.ts)
    office.fire("slow", severity=Severity.WARNING)
    assert await office.after(3600.0) == []


async def test_people_are_called_one_after_the_other_and_each_once() -> None:
    office = Office(ANNA, BEN)
    office.fire()
    assert await office.after(605.0) == ["ntfy of U0ANNA"]
    assert await office.after(590.0) == []
    assert await office.after(20.0) == ["ntfy of U0BEN"]
    assert await office.after(3600.0) == []


async def test_who_acknowledges_in_between_ends_it() -> None:
    office = Office(ANNA, BEN)
    fingerprint = office.fire()
    await office.after(605.0)
    office.desk.pipeline.ack(fingerprint, "U1", office.desk.clock.ts)
    assert await office.after(3600.0) == []


async def test_while_slack_takes_nothing_it_does_not_wait_for_an_acknowledgement() -> None:
    office = Office(ANNA)
    office.fire(in_slack=False)
    assert await office.after(115.0) == []
    assert await office.after(10.0) == ["ntfy of U0ANNA"]


@pytest.mark.parametrize("reason", ["muted in Slack", "quiet hours"])
async def test_who_is_not_to_be_woken_is_passed_over_for_the_next(reason: str) -> None:
    office = Office("U0ANNA/22:00-07:00=ntfy://anna", BEN)
    if reason == "muted in Slack":
        office.muted = {"U0ANNA"}
    else:
        office.minute = 3 * 60
    office.fire()
    assert await office.after(605.0) == ["ntfy of U0BEN"]


async def test_when_all_sleep_somebody_is_woken_all_the_same() -> None:
    office = Office(ANNA, BEN)
    office.muted = {"U0ANNA", "U0BEN"}
    office.fire()
    assert await office.after(605.0) == ["ntfy of U0ANNA"]


async def test_who_was_called_hears_that_it_is_over_and_nobody_else_does() -> None:
    office = Office(SERVICE, ANNA, BEN)
    office.fire()
    await office.after(605.0)
    office.desk.look()
    office.desk.look(after_s=61.0)
    await office.after(10.0)
    ended = [(name, title) for name, kind, title, _ in office.phones.rang if kind is PageKind.RESOLVED]
    assert sorted(ended) == [
        ("ntfy of U0ANNA", f"{RUN}: stalled is over"),
        ("pagerduty", f"{RUN}: stalled is over"),
    ]
    incidents = {incident for name, _, _, incident in office.phones.rang if name == "pagerduty"}
    assert len(incidents) == 1, "a service joins the end to the beginning by this"


async def test_an_end_that_comes_before_the_page_is_taken_drops_it() -> None:
    office = Office(ANNA)
    office.phones.broken = {"ntfy of U0ANNA"}
    office.fire()
    await office.after(620.0)
    office.desk.look()
    office.desk.look(after_s=61.0)
    await office.after(10.0)
    office.phones.broken = set()
    await office.after(600.0)
    assert office.phones.rang == []


async def test_an_alert_that_fires_again_is_another_page() -> None:
    office = Office(ANNA)
    office.fire()
    await office.after(605.0)
    office.desk.look()
    office.desk.look(after_s=61.0)
    await office.after(5.0)
    office.desk.clock.pass_s(3600.0)
    office.fire()
    assert await office.after(605.0) == ["ntfy of U0ANNA"]


async def test_a_target_that_fails_is_tried_on_told_and_passed_over() -> None:
    office = Office(ANNA, BEN)
    office.phones.broken = {"ntfy of U0ANNA"}
    office.fire()
    assert await office.after(660.0) == ["ntfy of U0BEN"]
    label = "page target 1 of 2 (ntfy of U0ANNA)"
    assert (label, "ntfy of U0ANNA did not take the page.") in office.notes
    office.phones.broken = set()
    assert await office.after(400.0) == ["ntfy of U0ANNA"]
    assert office.notes[-1] == (label, None)


async def test_a_target_that_hangs_delays_no_other() -> None:
    office = Office("pagerduty://key@api", limits=PagingLimits(page_after_s=600.0, answer_within_s=0.05))
    office.phones.answers.clear()
    office.fire()
    await office.after(605.0)
    assert office.notes[-1] == ("page target (pagerduty)", "no answer within 0.05 s; it may have rung")
    office.phones.answers.set()


async def test_who_answers_late_delays_no_other_page_and_is_called_once_meanwhile() -> None:
    limits = PagingLimits(page_after_s=600.0, answer_within_s=60.0, tick_s=0.02)
    office = Office("pagerduty://key@api", "ntfy://b", limits=limits)
    office.fire()
    await office.after(595.0)
    office.phones.answers.clear()
    await office.after(20.0)
    assert (office.phones.rang, office.notes) == ([], []), "the ticks did not wait for the answers"
    assert len(office.phones.called) == 2
    office.phones.answers.set()
    await office.until_rung(2)
    await office.after(5.0)
    assert sorted(office.phones.names) == ["ntfy", "pagerduty"]


async def test_a_call_that_never_began_has_rung_nowhere_and_is_repeated_soon() -> None:
    limits = PagingLimits(page_after_s=600.0, answer_within_s=0.4)
    office = Office(*(f"ntfy://{number}" for number in range(5)), limits=limits)
    office.phones.answers.clear()
    office.fire()
    await office.after(600.0)
    faults = [fault for _, fault in office.notes]
    assert faults.count("no answer within 0.4 s; it may have rung") == 4, "so many at once"
    assert faults.count("the calls before it took longer than 0.4 s") == 1
    office.phones.answers.set()
    await office.until_rung(4)
    assert len(await office.after(10.0)) == 1


async def test_two_targets_of_a_kind_are_counted_and_told_apart() -> None:
    office = Office("json://a/ok", "json://b/fail")
    office.phones.broken = {"json://b/fail"}
    send = office.phones.send

    def by_address(target: PageTarget, **page: Any) -> None:
        if target.url in office.phones.broken:
            raise TrainmasterError("page-not-taken", "did not take the page.")
        send(target, **page)

    office.phones.send = by_address  # type: ignore[method-assign]  # the broken one by its address
    office.fire()
    await office.after(630.0)
    assert [fault for name, fault in office.notes if name == "page target 1 of 2 (json)"] == [None]
    faults = [fault for name, fault in office.notes if name == "page target 2 of 2 (json)"]
    assert faults == ["did not take the page."] * 3


async def test_a_call_without_an_answer_may_have_rung_and_is_repeated_rarely_and_not_for_ever() -> None:
    office = Office(SERVICE)
    office.phones.unsure = {"pagerduty"}
    office.fire()
    await office.after(600.0 + 290.0)
    assert len(office.phones.called) == 1
    await office.after(3600.0)
    assert len(office.phones.called) == 3
    label = "page target (pagerduty)"
    assert office.notes == [(label, "pagerduty did not answer; it may have rung.")] * 3


async def test_who_did_not_answer_is_passed_over_when_it_was_time_enough() -> None:
    office = Office(ANNA, BEN)
    office.phones.unsure = {"ntfy of U0ANNA"}
    office.fire()
    assert await office.after(1195.0) == []
    assert await office.after(20.0) == ["ntfy of U0BEN"]


@pytest.mark.parametrize("end", ["acknowledged", "over"])
async def test_what_may_have_rung_rings_no_more_once_it_is_handled_and_its_end_is_told(end: str) -> None:
    office = Office(SERVICE)
    office.phones.unsure = {"pagerduty"}
    fingerprint = office.fire()
    await office.after(605.0)
    office.phones.unsure = set()
    if end == "acknowledged":
        office.desk.pipeline.ack(fingerprint, "U1", office.desk.clock.ts)
        await office.after(3600.0)
        assert len(office.phones.called) == 1
    office.desk.look()
    office.desk.look(after_s=61.0)
    await office.after(15.0)
    assert [kind for _, kind, _, _ in office.phones.rang] == [PageKind.RESOLVED]


async def test_a_page_while_slack_is_away_does_not_ask_for_what_slack_alone_can_do() -> None:
    office = Office(ANNA)
    fingerprint = office.fire(in_slack=False)
    await office.after(125.0)
    (page,) = PageStore(office.desk.database).of(fingerprint, 1)
    assert page.body.splitlines()[-1] == (
        "Paged because Slack does not take it. It can't be acknowledged there before Slack is back."
        " On the bot's host: trainmaster watch"
    )


async def test_a_storm_rings_so_often_an_hour_and_then_says_how_many_wait() -> None:
    office = Office(SERVICE)
    for number in range(10):
        office.fire("stalled", key=f"attempt{number}")
    called = await office.after(620.0)
    assert called == ["pagerduty"] * 3
    held = [title for _, kind, title, _ in office.phones.rang if kind is PageKind.HELD]
    assert held == ["trainmaster: 7 more critical alerts wait, held back"]
    assert len(await office.after(3600.0)) == 3


async def test_a_restart_calls_nobody_twice_and_forgets_nobody(tmp_path: Path) -> None:
    office = Office(ANNA, SERVICE, path=tmp_path / "state.sqlite3")
    office.phones.broken = {"pagerduty"}
    office.fire()
    assert await office.after(610.0) == ["ntfy of U0ANNA"]
    office.pager.close()
    office.desk.database.close()
    again = Office(ANNA, SERVICE, path=tmp_path / "state.sqlite3")
    again.desk.clock.ts = office.desk.clock.ts
    assert await again.after(300.0) == ["pagerduty"]


async def test_pages_of_long_ago_are_forgotten_when_that_is_asked_and_those_that_wait_never(tmp_path: Path) -> None:
    office = Office(ANNA, SERVICE)
    office.phones.broken = {"pagerduty"}
    fingerprint = office.fire()
    await office.after(610.0)
    office.desk.clock.pass_s(office.limits.forget_after_s + 1)
    pages = PageStore(office.desk.database)
    assert len(pages.of(fingerprint, 1)) == 2
    await office.pager.forget()
    assert [one.target for one in pages.of(fingerprint, 1)] == [read_targets(SERVICE)[0].key]


async def test_a_tick_asks_the_database_nothing_about_alerts_that_are_not_paged() -> None:
    async def statements(num_warnings: int) -> int:
        office = Office(SERVICE)
        warnings = [finding("slow", severity=Severity.WARNING, key=f"attempt{n}") for n in range(num_warnings)]
        office.desk.look(*warnings)
        office.desk.look(*warnings, after_s=60)
        assert len(office.desk.pipeline.troubles()) == num_warnings
        said: list[str] = []
        office.desk.database._connection.set_trace_callback(said.append)
        await office.pager.tick()
        return len(said)

    assert 0 < await statements(1) == await statements(9)


async def test_a_target_that_left_the_settings_is_not_called() -> None:
    office = Office(ANNA)
    office.phones.broken = {"ntfy of U0ANNA"}
    office.fire()
    await office.after(610.0)
    office.targets = read_targets(BEN)
    office.phones.broken = set()
    office.pager = office.new_pager()
    assert await office.after(600.0) == ["ntfy of U0BEN"]


async def test_the_page_says_what_happened_why_it_came_and_what_to_type() -> None:
    office = Office(ANNA)
    fingerprint = office.fire()
    await office.after(605.0)
    (page,) = [one for one in PageStore(office.desk.database).of(fingerprint, 1) if one.kind is PageKind.FIRED]
    assert page.title == f"{RUN}: stalled"
    assert page.body.splitlines() == [
        "what is known",
        "/train status",
        "Paged because nobody acknowledged it. Acknowledge it in Slack: /train ack",
    ]
