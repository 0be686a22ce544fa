"""What a command is, and what it may touch."""

from __future__ import annotations

import re
from collections.abc import Awaitable, Callable, Sequence
from contextlib import AbstractContextManager, nullcontext, suppress
from dataclasses import dataclass, field
from difflib import get_close_matches
from enum import StrEnum
from typing import Protocol

from trainmaster.bot.core.alerts.book import AlertBook
from trainmaster.bot.core.conversation.message import Reply
from trainmaster.bot.core.conversation.request import Request
from trainmaster.bot.core.conversation.words import listed, quoted
from trainmaster.bot.core.decisions.approval import Approval
from trainmaster.bot.core.decisions.change import Proposal
from trainmaster.bot.core.decisions.order import Order
from trainmaster.bot.core.health.host import HostFact
from trainmaster.bot.core.run.epoch_report import ReportLimits
from trainmaster.bot.core.run.view import RunView
from trainmaster.bot.errors import CommandError, StoreError
from trainmaster.bot.ports import Clock, Outbox, Posted, Runs
from trainmaster.commands.age import refuse_of_earlier_attempt
from trainmaster.commands.roles import AuditTrail, Gate, NoRoles, Roles


class RunOperations(Protocol):
    """Operations, as commands and buttons use them; what may be ordered stands in
    :mod:`trainmaster.bot.core.decisions.order`."""

    async def perform(self, order: Order) -> Reply:
        """The order is carried out or under way, durably, as the answer says.

        Raises:
            TrainmasterError: it is not; says why.
        """
        ...

    def run_of(self, key: str) -> str | None:
        """The run that the message ``approval/ID`` or ``operation/ID`` is about; None for other keys."""
        ...


class OnCallGuard(Protocol):
    """Who may act, looked up at the moment of the act."""

    async def now(self) -> frozenset[str]:
        """The people on call.

        Raises:
            ChatError: that could not be found out.
        """
        ...

    async def require(self, user: str, what: str) -> None:
        """``user`` is on call.

        Raises:
            CommandError: they are not; says who is, and that only they may do ``what``.
            ChatError: that could not be found out.
        """
        ...


class Selection(Protocol):
    """Which run a channel talks about."""

    def chosen(self, channel: str) -> str | None:
        """The run id chosen there with ``use``; None when none was."""
        ...

    def choose(self, channel: str, run: str) -> None:
        """Commands in the channel are about this run from now on."""
        ...


@dataclass(frozen=True, slots=True, kw_only=True)
class Context:
    """Everything a command may use."""

    runs: Runs
    operations: RunOperations
    alerts: AlertBook
    outbox: Outbox
    on_call: OnCallGuard
    clock: Clock
    selection: Selection
    report_limits: ReportLimits
    host: Callable[[], HostFact | None] = lambda: None
    """The newest look at the host that the bot runs on."""
    roles: Roles = field(default_factory=NoRoles)
    audit: AuditTrail | None = None
    together: Callable[[], AbstractContextManager[None]] = nullcontext
    """Around an act and its entry in the audit log: both are committed, or neither."""
    members_care: bool = False
    """Whether members of the alert channel may take and silence alerts, not only people on call."""
    planned: Callable[[str], tuple[str, ...]] = lambda _: ()
    """What is planned for a run and under way on it, a sentence each."""
    questions: Callable[[], Sequence[Approval]] = lambda: ()
    """Questions that wait for an answer, of every run."""
    proposals: Callable[[], Sequence[Proposal]] = lambda: ()
    """Questions about other settings that wait for an answer, of every run."""
    concerned: Callable[[], frozenset[str]] = frozenset
    """Runs that something is asked, planned or done about."""
    link: Callable[[Posted], str] = lambda _: ""
    """The address of a message."""
    told_by: Callable[[str], str] = lambda _: ""
    """The bot that tells the alert of that fingerprint here in place of this one, or with an empty one any alert; empty
    where this one does."""

    @property
    def gate(self) -> Gate:
        """Who may do what."""
        return Gate(
            on_call=self.on_call, roles=self.roles, clock=self.clock, audit=self.audit, members_care=self.members_care
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class Invocation:
    """One use of a command. ``words`` are the command's own groups, lower-cased names to text."""

    request: Request
    words: dict[str, str]
    acts: bool = False
    """Whether the command does something to the run that it is about."""

    def integer(self, name: str) -> int | None:
        """The number given for ``name``; None when it was left out.

        Raises:
            CommandError: it is larger than any epoch can be.
        """
        text = self.words.get(name)
        if not text:
            return None
        if len(text) > 6:
            raise CommandError("number-too-large", f"{text[:12]} is no epoch: the limit is 999999.", "/train status")
        return int(text)


class Needs(StrEnum):
    """Who may use a command."""

    NOTHING = "nothing"
    """It only tells."""
    VOICE = "voice"
    """It asks others for a decision, or changes what people here see."""
    CARE = "care"
    """It takes or silences alerts."""
    ON_CALL = "on call"


class Fits(StrEnum):
    """When a command is of use, for what help shows."""

    ALWAYS = "always"
    AT_WORK = "while the run trains"
    OVER = "while the run is stopped"
    ALERT = "while an alert fires"


Action = Callable[[Invocation, Context], Awaitable[Reply]]


@dataclass(frozen=True, slots=True, kw_only=True)
class Command:
    """``pattern`` must match the whole text, case ignored. ``examples`` are real uses; the first is the help's."""

    name: str
    summary: str
    examples: tuple[str, ...]
    pattern: re.Pattern[str]
    action: Action
    needs: Needs = Needs.NOTHING
    fits: Fits = Fits.ALWAYS
    what: str = ""
    """What the command does, as in “only people on call may stop a run”."""

    @property
    def on_call_only(self) -> bool:
        """Whether nobody else may use it."""
        return self.needs is Needs.ON_CALL

    @property
    def acts(self) -> bool:
        """Whether it does something to the run that it is about, or asks others to."""
        return self.needs in {Needs.ON_CALL, Needs.VOICE}

    def match(self, text: str) -> dict[str, str] | None:
        """The groups that ``text`` fills; None when it is another command."""
        found = self.pattern.fullmatch(text.strip())
        words = {} if found is None else {key: value for key, value in found.groupdict().items() if value}
        for name in {"run", "other"} & set(words):
            words[name] = words[name].strip(_QUOTES) or words[name]
        return None if found is None else words


RUN_WORD = r"(?:\s+(?:of|on|for)\s+(?P<run>\S.*?))?"
"""A run may be named at the end of every command: ``status of digits``. Names may have blanks, and quotes around."""

EXAMPLE_RUN = "digits"
"""Stands for a run in the examples of commands; people are shown one of theirs."""
EXAMPLE_OTHER = "digits-2"

_MAX_NAME = 60
_MAX_NAMED = 8
_MAX_COMPARED = 5000
"""Runs that a misspelt name is compared with, the newest first: a comparison takes some microseconds."""
_QUOTES = "\"'`“”‘’"


def pattern(text: str) -> re.Pattern[str]:
    """``text`` as a command pattern: case ignored, any run of blanks between words."""
    return re.compile(text.replace(" ", r"\s+"), re.IGNORECASE)


async def find_run(invocation: Invocation, context: Context) -> RunView:
    """The run that is meant: named, else that of the thread, else the one chosen in the channel, else the newest. It is
    read anew.

    Raises:
        CommandError: there is no such run, or none at all; or something is to be done to one of several at work, of
            which the newest is any.
    """
    request = invocation.request
    named = invocation.words.get("run")
    if named:
        named = _as_called(named if invocation.acts else _unasked(named, context), context)
        view = context.runs.find(named)
        if view is None:
            raise _unknown_run(named, context)
        _require_one(named, context)
    else:
        view = run_acted_on(request, context) if invocation.acts else run_in_mind(request, context)
        if view is None:
            _require_one_at_work(context)
    if view is None:
        raise CommandError(
            "no-runs", "no guarded run was found under RUNS_DIR.", "start one with: trainmaster train ..."
        )
    view = await context.runs.refresh(view.run) or view
    if invocation.acts:
        refuse_of_earlier_attempt(request.said_ts, view)
    return view


def _unasked(named: str, context: Context) -> str:
    """Without the question mark of a sentence that only asks: ``status of night?``."""
    return named if context.runs.find(named) is not None else named.rstrip(" ?") or named


def _as_called(named: str, context: Context) -> str:
    """``named``, or the name of the only run that it is but for its case and the dashes that phones make."""
    if context.runs.find(named) is not None:
        return named
    alike = {view.name for view in context.runs.all() if _folded(view.name) == _folded(named)}
    return alike.pop() if len(alike) == 1 else named


def _folded(name: str) -> str:
    return re.sub("[–—-]+", "-", name).casefold()


def _unknown_run(named: str, context: Context) -> CommandError:
    names = list(dict.fromkeys(view.name for view in context.runs.all()))
    folded = {_folded(name): name for name in reversed(names[:_MAX_COMPARED])}
    near = [folded[one] for one in get_close_matches(_folded(named), folded, n=1)]
    known = listed([name if len(name) <= _MAX_NAME else name[:_MAX_NAME] + "…" for name in names], _MAX_NAMED) or "none"
    meant = f"Did you mean {near[0]!r}?" if near else f"Known: {known}."
    return CommandError("run-unknown", f"there is no run named {named[:_MAX_NAME]!r}. {meant}", "/train runs")


def typed_run(text: str, context: Context) -> str:
    """The longest name of a run that stands in ``text`` as a word; empty when none does."""
    line = _folded(text)
    names = (view.name for view in context.runs.all() if _folded(view.name) in line)
    return max((name for name in names if re.search(_as_word(name), line)), key=len, default="")


def without_run(text: str, name: str) -> str:
    """``text`` without the run that :func:`typed_run` found there, and without the word that says so."""
    return re.sub(rf"(?:\b(?:of|on|for)\s+)?[{_QUOTES}]*{_as_word(name)}[{_QUOTES}]*", "", _folded(text)).strip()


def _as_word(name: str) -> str:
    return rf"(?<![\w./-]){re.escape(_folded(name))}(?![\w/-]|\.\w)"


def for_people(example: str, context: Context, name: str = "") -> str:
    """``example`` with runs of theirs: ``name``, else the newest, and another one beside it."""
    names = [*([name] if name else []), *(view.name for view in context.runs.all())] or [EXAMPLE_RUN]
    other = next((quoted(one) for one in names if one != names[0]), "OTHER_RUN")
    runs = {EXAMPLE_RUN: quoted(names[0]), EXAMPLE_OTHER: other}
    return re.sub(f"{EXAMPLE_OTHER}|{EXAMPLE_RUN}", lambda found: runs[found[0]], example)


def about(view: RunView, command: str, context: Context) -> str:
    """``command`` as it is typed to be about that run, whichever is the newest by then."""
    several = len(context.runs.all()) > 1
    return f"{command} of {quoted(label_of(view, context))}" if several else command


def label_of(view: RunView, context: Context) -> str:
    """The run's name, with as much of its path as tells it from others of that name."""
    others = [one for one in context.runs.all() if one.name == view.name and one.directory != view.directory]
    parts = view.directory.parts
    for length in range(1, len(parts)):
        if all(one.directory.parts[-length:] != parts[-length:] for one in others):
            return "/".join(parts[-length:]) if length > 1 else view.name
    return view.run


def _require_one(named: str, context: Context) -> None:
    """A name, or the end of a path, is said of one run only: what acts on a run must not pick one of two.

    Raises:
        CommandError: several runs have it; says how to name each.
    """
    end = tuple(named.strip("/").split("/"))
    alike = [one for one in context.runs.all() if end in {(one.name,), one.directory.parts[-len(end) :]}]
    if len(alike) > 1:
        labels = listed([label_of(one, context) for one in alike], _MAX_NAMED)
        raise CommandError(
            "run-ambiguous",
            f"{len(alike)} runs are named {named!r}: {labels}.",
            f"name it by its path, such as /train use {label_of(alike[0], context)}",
        )


def _require_one_at_work(context: Context) -> None:
    """Nobody has to say which run is meant.

    Raises:
        CommandError: it could be several; says how to name one.
    """
    names = [label_of(view, context) for view in _could_be_meant(context)]
    if len(names) > 1:
        raise CommandError(
            "which-run",
            f"{len(names)} runs are at work or have something planned: {listed(names, _MAX_NAMED)}; nothing was done.",
            f"say which, as in “of {quoted(names[0])}”, or choose one for this channel: /train use RUN",
        )


def _could_be_meant(context: Context) -> list[RunView]:
    """Runs at work, and those of which something is planned: “stop now” takes a plan back too."""
    planned: frozenset[str] = frozenset()
    with suppress(StoreError):  # an emergency stop needs no database
        planned = context.concerned()
    return [view for view in context.runs.all() if view.state.active or view.run in planned]


def thread_key(request: Request, context: Context) -> str | None:
    """The key of our message whose thread the request was said in."""
    return context.outbox.key_at(request.channel, request.thread_ts) if request.thread_ts else None


async def place_of_card(request: Request, context: Context) -> tuple[str | None, str | None]:
    """Channel and thread for a card on which people decide. Where few would see it, the channel is None, which is the
    alert channel."""
    if request.direct:
        return None, None
    thread_of = thread_key(request, context)
    seen = thread_of is not None or await context.roles.reaches(request.channel)
    return request.channel if seen else None, thread_of


def run_in_mind(request: Request, context: Context) -> RunView | None:
    """The run that a command without a name would be about, as it was last read; None when there is none."""
    return _from_thread(request, context) or _chosen(request, context) or _newest(context)


def run_acted_on(request: Request, context: Context) -> RunView | None:
    """The run that something would be done to; None too where it could be several, of which the newest is whichever
    wrote last: a stop must not take that one."""
    said = _from_thread(request, context) or _chosen(request, context)
    return said if said is not None or len(_could_be_meant(context)) > 1 else _newest(context)


def _from_thread(request: Request, context: Context) -> RunView | None:
    key = thread_key(request, context)
    if key is None:
        return None
    return context.runs.find(context.operations.run_of(key) or key.split("/", 1)[0])


def _chosen(request: Request, context: Context) -> RunView | None:
    chosen = context.selection.chosen(request.channel)
    return context.runs.find(chosen) if chosen else None


def _newest(context: Context) -> RunView | None:
    every = context.runs.all()
    return every[0] if every else None
