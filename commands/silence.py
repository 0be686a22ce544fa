"""``silence`` and ``unsilence``: what makes no sound until when."""

from __future__ import annotations

from collections.abc import Sequence

from trainmaster.bot.core.alerts.silence import Silence
from trainmaster.bot.core.conversation.message import Message, Reply, Tone
from trainmaster.bot.core.conversation.tokens import moment, person
from trainmaster.bot.core.run.forecast import duration
from trainmaster.bot.errors import CommandError
from trainmaster.commands.acknowledge import acted_on, meant_alert
from trainmaster.commands.alerts import silence_text
from trainmaster.commands.base import RUN_WORD, Command, Context, Invocation, Needs, find_run, pattern, thread_key
from trainmaster.commands.care import in_public, on_record, word_key
from trainmaster.commands.moments import CLOCK, SPAN, said_ts

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
    view = await find_run(invocation, context) if invocation.words.get("run") else None
    alert = await meant_alert(invocation, context) if view is None else None
    with context.together():
        if view is not None:
            context.alerts.silence_where(user, until_ts, now, run=view.run)
            what, subject = f"every alert of {view.name}, critical ones too", view.run
        else:
            meant = "" if alert is None else acted_on(alert, invocation, context)
            silenced = context.alerts.silence(meant, user, until_ts, now)
            if silenced is None:
                which = f"“{alert.finding.title}”" if alert is not None else "the alert"
                raise CommandError("alert-over", f"{which} no longer fires.", "/train alerts")
            what, subject = silenced.finding.title, silenced.finding.run
        unrecorded = on_record(context, user, "alert.silenced", subject, what=what, until_ts=until_ts)
    message = Message(
        title=f"{what}: silent for {duration(seconds)}, until {moment(until_ts)}",
        tone=Tone.NEUTRAL,
        body=(f"Silenced by {person(user)}.", *([unrecorded] if unrecorded else [])),
        context=("/train unsilence ends it earlier",),
    )
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
    if number is None and key is not None:
        with context.together():
            heard = context.alerts.unsilence(key, user, now)
            unrecorded = _on_record(context, user, heard.finding.title, heard.finding.run) if heard is not None else ""
        if heard is not None:
            return await _heard(invocation, context, heard.finding.title, heard.finding.run, unrecorded)
    ended = _meant(number, context.alerts.silences(now))
    what = silence_text(ended, context)
    with context.together():
        if not context.alerts.end_silence(ended.id, user, now):
            raise CommandError("not-silenced", f"silence {ended.id} has ended by itself.", "/train alerts")
        unrecorded = _on_record(context, user, what, ended.run or "")
    return await _heard(invocation, context, what, ended.run or "", unrecorded)


def _on_record(context: Context, user: str, what: str, subject: str) -> str:
    return on_record(context, user, "alert.unsilenced", subject, what=what)


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
