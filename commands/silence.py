"""``silence`` and ``unsilence``: what makes no sound until when."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

from trainmaster.bot.core.alerts.silence import Silence
from trainmaster.bot.core.conversation.message import Message, Reply, Tone
from trainmaster.bot.core.conversation.tokens import person
from trainmaster.bot.core.run.forecast import duration
from trainmaster.bot.errors import CommandError
from trainmaster.commands.acknowledge import acted_on, meant_alert
from trainmaster.commands.alerts import silence_text
from trainmaster.commands.base import RUN_WORD, Command, Context, Invocation, Needs, pattern, thread_key
from trainmaster.commands.care import hear_again, in_public, on_record, quiet_message, quieten, word_key
from trainmaster.commands.moments import CLOCK, SPAN, said_ts
from trainmaster.commands.which_run import find_run

_MAX_SILENCE_S = 7 * 86400.0
"""A silence that outlives a week is a forgotten one."""


async def silence(invocation: Invocation, context: Context) -> Reply:
    """The alert of this thread, or the only one firing, makes no sound for a while; with a run named, all of that run.

    Raises:
        CommandError: no end, or one beyond a week.
    """
    user, now = invocation.request.user, context.clock.now()
    until_ts = await said_ts(invocation, context)
    assert until_ts is not None  # the pattern wants a time
    seconds = until_ts - now
    if not 0 < seconds <= _MAX_SILENCE_S:
        raise CommandError(
            "silence-length",
            f"{duration(seconds)} can't be a silence: more than 0 and at most 7d.",
            "/train silence 2h",
        )
    if invocation.words.get("run"):
        view = await find_run(invocation, context)
        what, subject = f"every alert of {view.name}, critical ones too", view.run
        with context.together():
            context.alerts.silence_where(user, until_ts, now, run=view.run)
            unrecorded = on_record(context, user, "alert.silenced", subject, what=what, until_ts=until_ts)
    else:
        alert = await meant_alert(invocation, context)
        meant, called = acted_on(alert, invocation, context), f"“{alert.finding.title}”"
        silenced, unrecorded = quieten(context, meant, user, until_ts, now, called=called)
        what, subject = silenced.finding.title, silenced.finding.run
    message = quiet_message(what, user, until_ts, seconds, unrecorded)
    message = replace(message, context=("/train unsilence ends it earlier",))
    await in_public(context, invocation.request.channel, message, word_key(None, f"silence/{subject}", now))
    return Reply(message=message)


async def unsilence(invocation: Invocation, context: Context) -> Reply:
    """The silence of this thread's alert, the one with the number, or the only one there is, has ended; what still
    holds is told at the next look.

    Raises:
        CommandError: none holds, or it could be several.
    """
    user, now = invocation.request.user, context.clock.now()
    number = invocation.integer("id")
    key = thread_key(invocation.request, context)
    if number is None and key is not None and (heard := hear_again(context, key, user, now)) is not None:
        alert, unrecorded = heard
        return await _heard(invocation, context, alert.finding.title, alert.finding.run, unrecorded)
    ended = _meant(number, context.alerts.silences(now))
    what = silence_text(ended, context)
    with context.together():
        if not context.alerts.end_silence(ended.id, user, now):
            raise CommandError("not-silenced", f"silence {ended.id} has ended by itself.", "/train alerts")
        unrecorded = on_record(context, user, "alert.unsilenced", ended.run or "", what=what)
    return await _heard(invocation, context, what, ended.run or "", unrecorded)


def _meant(number: int | None, silences: Sequence[Silence]) -> Silence:
    if not silences:
        raise CommandError("not-silenced", "nothing is silenced.", "/train alerts")
    if number is None and len(silences) == 1:
        return silences[0]
    if number is None:
        raise CommandError("which-silence", f"{len(silences)} silences hold.", "/train alerts shows their numbers")
    found = next((one for one in silences if one.id == number), None)
    if found is None:
        raise CommandError("no-such-silence", f"there is no silence {number} now.", "/train alerts shows their numbers")
    return found


async def _heard(invocation: Invocation, context: Context, what: str, subject: str, unrecorded: str) -> Reply:
    user, now = invocation.request.user, context.clock.now()
    body = (f"Asked for by {person(user)}.", *([unrecorded] if unrecorded else []))
    message = Message(title=f"{what}: heard again", tone=Tone.GOOD, body=body, context=("/train alerts",))
    await in_public(context, invocation.request.channel, message, word_key(None, f"unsilence/{subject}", now))
    return Reply(message=message)


SILENCE = Command(
    name="silence 2h",
    summary="keep the alert of this thread quiet for a while, or a whole run",
    examples=("silence 2h", "silence until 8:00", "silence 2h for digits"),
    pattern=pattern(rf"silence (?:(?:until|till) {CLOCK}|(?:for )?{SPAN}){RUN_WORD}"),
    action=silence,
    needs=Needs.CARE,
    what="silence alerts",
)
UNSILENCE = Command(
    name="unsilence",
    summary="end the silence of this thread's alert, or the one with a number",
    examples=("unsilence", "unsilence 3"),
    pattern=pattern(r"unsilence(?: (?P<id>\d{1,6}))?"),
    action=unsilence,
    needs=Needs.CARE,
    what="end silences",
)
