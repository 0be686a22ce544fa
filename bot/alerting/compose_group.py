"""What the message says in which the alerts of many runs are told, and the list of them in its thread. Pure."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Final

from trainmaster.bot.alerting.compose import TONES, story
from trainmaster.bot.alerting.together import EXPLAINS
from trainmaster.bot.core.alerts.alert import Alert, AlertState
from trainmaster.bot.core.alerts.alert_record import severity_rank
from trainmaster.bot.core.alerts.finding import Severity
from trainmaster.bot.core.check_name import AnyCheck, CheckName
from trainmaster.bot.core.conversation.message import ActionId, Button, ButtonStyle, Item, Mark, Message, Tone
from trainmaster.bot.core.conversation.tokens import moment, person
from trainmaster.bot.core.conversation.words import counted
from trainmaster.bot.core.decisions.start_word import all_of, start_words
from trainmaster.bot.core.health.no_run import ABOUT_NO_RUN

_NAMES_CHARS: Final = 1_500
"""What a message has for one of its fields is 2,000."""
_NAMES_ABOVE_CHARS: Final = 160
"""Four lines of a phone. Longer ones stand below the buttons, which are seen at once that way."""
_NAME_CHARS: Final = 60
_NAME_START: Final = 39
PAGE_RUNS: Final = 15
"""Lines of one message of the thread: a phone's screen, and what Slack takes of lines of 600 characters."""
MAX_PAGES: Final = 8
"""120 runs; what is beyond stands in ``/train alerts``."""

_WHAT: Final[dict[AnyCheck, str]] = {
    CheckName.PROCESS_DIED: "died",
    CheckName.ORPHANS: "left processes behind",
    CheckName.STALLED: "stand still",
    CheckName.UNREADABLE: "can't be read",
    CheckName.RUN_STOPPED: "were stopped",
    CheckName.RUN_CRASHED: "crashed",
    CheckName.RUN_GAVE_UP: "gave up",
    CheckName.RUN_REFUSED: "refused to start",
    CheckName.STORAGE_FAULT: "could not write",
    CheckName.CHECK_FAILED: "are not checked in full",
    CheckName.SLOWDOWN: "are slow",
    CheckName.EPOCH_LATE: "are late",
}


@dataclass(frozen=True, slots=True, kw_only=True)
class Group:
    """``leader`` is the alert whose message it is; ``members`` are told in it, oldest first."""

    leader: Alert
    members: tuple[Alert, ...]

    @property
    def all(self) -> tuple[Alert, ...]:
        """In the order in which they were told."""
        return (self.leader, *self.members)

    @property
    def firing(self) -> tuple[Alert, ...]:
        """Those that are not over."""
        return tuple(one for one in self.all if one.state is AlertState.FIRING)

    @property
    def unowned(self) -> tuple[Alert, ...]:
        """Those that fire and that nobody has acknowledged."""
        return tuple(one for one in self.firing if one.acked_by is None)

    @property
    def cause(self) -> Alert | None:
        """The trouble that explains the others; None when it isn't known."""
        told = {one.finding.check for one in self.all}
        return next((one for one in self.all if not told.isdisjoint(EXPLAINS.get(one.finding.check, ()))), None)


def as_one(group: Group) -> Alert:
    """The group as if it were one alert, its leader's: it fires while any of them does, nobody has it while one of them
    has no owner, and it is as bad as the worst."""
    shown = group.firing or group.all
    worst = max((one.finding.severity for one in shown), key=severity_rank)
    owner = group.leader if group.leader.acked_by is not None else next((one for one in shown if one.acked_by), None)
    free = bool(group.unowned) or owner is None
    return replace(
        group.leader,
        finding=replace(group.leader.finding, title=title_of(group), severity=worst),
        state=AlertState.FIRING if group.firing else group.leader.state,
        resolved_ts=None if group.unowned else group.leader.resolved_ts,
        acked_by=None if free or owner is None else owner.acked_by,
        acked_ts=None if free or owner is None else owner.acked_ts,
    )


def title_of(group: Group) -> str:
    """What happened to how many runs, in a line."""
    runs = [one for one in group.all if one is not group.cause]
    checks = Counter(one.finding.check for one in runs)
    check = checks.most_common(1)[0][0]
    over = len(runs) - sum(one.state is AlertState.FIRING for one in runs)
    if check is CheckName.DUTY_FAILED:
        what = f"{len(runs)} jobs of Trainmaster itself go wrong"
    else:
        said = _WHAT.get(check, check.replace("_", " "))
        number = len({one.finding.run for one in runs})
        what = f"{counted(number, 'run')} {said} at about the same time"
    if group.cause is not None:
        what = f"{group.cause.finding.title}; {what}"
    return f"{what}; {over} over" if over and group.firing else what


def compose_group(group: Group, *, mentions: tuple[str, ...], silence_s: float, silenced: str = "") -> Message:
    """The one message of the trouble, as it is to read now. It names the runs, as far as a message has room."""
    title = title_of(group)
    names = _names([one for one in group.all if one is not group.cause])
    above = len(names) <= _NAMES_ABOVE_CHARS
    first = group.leader.finding
    if not group.firing:
        return Message(title=f"{title} (over)", tone=Tone.GOOD, body=(names,), context=("/train status",))
    cause = group.cause
    known = (
        ("The first is most likely the cause of the second.", *cause.finding.body[:2])
        if cause is not None
        else ("What they have in common is not known: look at host, disk, mount and driver first.",)
    )
    worst = max((one.finding.severity for one in group.firing), key=severity_rank)
    owners = sorted({one.acked_by for one in group.firing if one.acked_by is not None})
    owned = tuple(
        Item(mark=Mark.DONE, text=f"acknowledged by {person(user)}", detail=_share(group, user)) for user in owners
    )
    waiting = len(start_words(group.all))
    buttons = (
        *((_resume_button(group.leader.fingerprint, waiting),) if waiting else ()),
        *(
            (Button(action=ActionId.ACK, label="Acknowledge all", value=group.leader.fingerprint),)
            if group.unowned and worst is not Severity.INFO
            else ()
        ),
        Button(
            action=ActionId.UNSILENCE if silenced else ActionId.SILENCE,
            label="End the silence" if silenced else f"Silence all {silence_s / 3600:g} h",
            value=group.leader.fingerprint,
        ),
    )
    context = [f"since {moment(first.ts)}", *([silenced] if silenced else []), "each run's story: in the thread"]
    return Message(
        title=title,
        tone=TONES[worst],
        body=(*((names,) if above else ()), *known),
        fields=() if above else (("Which", names),),
        items=owned,
        context=(" · ".join(context), "/train alerts"),
        buttons=buttons,
        mentions=mentions if group.unowned else (),
    )


def _resume_button(leader: str, number: int) -> Button:
    return Button(
        action=ActionId.RESUME_RUN,
        label=f"Resume {counted(number, 'run')}",
        value=all_of(leader),
        style=ButtonStyle.PRIMARY,
        confirm=f"Start {number} runs again, each where it stood?" if number > 1 else None,
    )


def compose_pages(group: Group) -> tuple[Message, ...]:
    """A line for each run: what it is, since when, what came of it."""
    told = group.all[: PAGE_RUNS * MAX_PAGES]
    left = len(group.all) - len(told)
    pages = []
    for start in range(0, len(told), PAGE_RUNS):
        some = told[start : start + PAGE_RUNS]
        last = start + PAGE_RUNS >= len(told)
        pages.append(
            Message(
                title=f"Alerts {start + 1} to {start + len(some)} of {len(group.all)}",
                items=tuple(_line(one) for one in some),
                context=(f"and {left} more: /train alerts",) if last and left else (),
            )
        )
    return tuple(pages)


def _line(alert: Alert) -> Item:
    finding = alert.finding
    over = alert.state is AlertState.RESOLVED
    mark = Mark.DONE if over else Mark.FAILED if finding.severity is Severity.CRITICAL else Mark.WARNING
    said = [*(finding.body[:1]), *(f"{name} {value}" for name, value in finding.fields if "clean" in name.lower())]
    steps = [f"{one.text} {one.detail}".strip() for one in story(alert)] if over or alert.acked_by else []
    return Item(mark=mark, text=finding.title or finding.run, detail="; ".join([*said, *steps])[:300])


def _names(alerts: Sequence[Alert]) -> str:
    shown: list[str] = []
    names = dict.fromkeys((one.finding.run, _name(one)) for one in alerts)
    for _, name in names:
        if sum(map(len, shown)) + 2 * len(shown) + len(name) > _NAMES_CHARS:
            return f"{', '.join(shown)} and {len(names) - len(shown)} more"
        shown.append(name)
    return ", ".join(shown)


def _name(alert: Alert) -> str:
    finding = alert.finding
    if finding.run in ABOUT_NO_RUN:
        return finding.key[:_NAME_CHARS]
    name, found, _ = finding.title.partition(": ")
    name = name if found else finding.run
    # What tells the runs of a sweep apart stands at the end of their names.
    return name if len(name) <= _NAME_CHARS else f"{name[:_NAME_START]}…{name[_NAME_START + 1 - _NAME_CHARS :]}"


def _share(group: Group, user: str) -> str:
    owned = sum(one.acked_by == user for one in group.firing)
    return "" if owned == len(group.firing) else f"{owned} of {len(group.firing)}"
