"""Which run is meant, and what it is called."""

from __future__ import annotations

import re
from contextlib import suppress
from difflib import get_close_matches

from trainmaster.bot.core.conversation.request import Request
from trainmaster.bot.core.conversation.words import listed, quoted
from trainmaster.bot.core.run.view import RunView
from trainmaster.bot.errors import CommandError, StoreError
from trainmaster.commands.age import refuse_of_earlier_attempt
from trainmaster.commands.base import EXAMPLE_OTHER, EXAMPLE_RUN, QUOTES, Context, Invocation, thread_key

_MAX_NAME = 60
_MAX_NAMED = 8
_MAX_COMPARED = 5000
"""Runs that a misspelt name is compared with, the newest first: a comparison takes some microseconds."""


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
    return re.sub(rf"(?:\b(?:of|on|for)\s+)?[{QUOTES}]*{_as_word(name)}[{QUOTES}]*", "", _folded(text)).strip()


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
