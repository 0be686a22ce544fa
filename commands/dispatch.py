"""From words to a command, or to the nearest one."""

from __future__ import annotations

from difflib import get_close_matches

from trainmaster.bot.core.conversation.message import Message, Reply, Tone
from trainmaster.bot.core.conversation.request import Request
from trainmaster.commands.age import refuse_old
from trainmaster.commands.base import Command, Context, Invocation, Needs, for_people
from trainmaster.commands.care import refuse_told_elsewhere

_MAX_ECHO = 80
_JOINING = 3
"""Letters of words such as “of” and “for”, which say nothing of what was meant."""
_NO = "No word does that: press Reject on the card of the question."
_YES = "No word does that: press the button of your choice on the card of the question."
_PRESSED = {
    **dict.fromkeys(("reject", "rejected", "decline", "deny", "refuse", "no"), _NO),
    **dict.fromkeys(("approve", "approved", "accept", "confirm", "decide", "yes"), _YES),
    "details": "No word does that: press Details on the message.",
}
"""What only a button does, and so which: the nearest command by its letters may be the opposite."""
_CLOSING = "\"'`”’"


def match(text: str, commands: tuple[Command, ...]) -> tuple[Command, dict[str, str]] | None:
    """The first command that the whole of ``text`` is a use of."""
    for command in commands:
        words = command.match(text)
        if words is not None:
            return command, words
    # “status?” asks for it; “stop now?” asks whether to.
    asked = text.rstrip().rstrip("?").rstrip()
    told = (command for command in commands if command.needs is Needs.NOTHING) if asked != text.rstrip() else ()
    return next(((command, words) for command in told if (words := command.match(asked)) is not None), None)


def is_command(text: str, commands: tuple[Command, ...]) -> bool:
    """Whether ``text`` is a command as a whole; other talk in a thread is none of ours, such as a sentence that begins
    like a command: a run's name with blanks needs quotes there."""
    found = match(text, commands)
    return found is not None and (" " not in found[1].get("run", "") or text.strip()[-1] in _CLOSING)


async def dispatch(request: Request, context: Context, commands: tuple[Command, ...]) -> Reply:
    """The answer of the command that was meant, or the nearest one by name; nothing is done on a guess.

    Raises:
        TrainmasterError: the command can't be carried out; the message is for the person.
    """
    context.gate.refuse_foreign(request.user, request.foreign, request.text[:_MAX_ECHO])
    text = " ".join(request.text.split()) or "help"
    found = match(text, commands)
    if found is None:
        return _unknown(text, commands, context)
    command, words = found
    invocation = Invocation(request=request, words=words, acts=command.needs in {Needs.ON_CALL, Needs.VOICE})
    await _require(command, request, context)
    return await command.action(invocation, context)


async def _require(command: Command, request: Request, context: Context) -> None:
    """The person may use the command, and it is not an old one.

    Raises:
        CommandError: they may not, or it was said too long ago.
    """
    if command.needs is Needs.NOTHING:
        return
    if command.needs is Needs.ON_CALL:
        await context.gate.require_on_call(request.user, command.what)
    elif command.needs is Needs.CARE:
        await context.gate.require_care(request.user, command.what)
        refuse_told_elsewhere(context, "", command.what)
    else:
        await context.gate.require_voice(request.user, command.what, direct=request.direct)
    refuse_old(request.said_ts, f"“{request.text[:_MAX_ECHO]}” was said", context.clock.now())


def _unknown(text: str, commands: tuple[Command, ...], context: Context) -> Reply:
    pressed = _PRESSED.get(text.lower().split()[0].strip("!.,"))
    near = nearest(text, commands) if pressed is None else None
    near = for_people(near, text, context) if near else None
    shown = text if len(text) <= _MAX_ECHO else text[:_MAX_ECHO] + "…"
    body = f"Did you mean /train {near}?" if near else "These are understood: /train help"
    body = pressed or body
    message = Message(
        title=f"“{shown}” is no command", tone=Tone.WARNING, body=(body,), context=("Nothing was done. /train help",)
    )
    return Reply(message=message, private=True)


def nearest(text: str, commands: tuple[Command, ...]) -> str | None:
    """The example that ``text`` most looks like; None when it looks like none."""
    examples = [example for command in commands for example in command.examples]
    first = text.lower().split()[0]
    same = [example for example in examples if example.split()[0] == first]
    whole = get_close_matches(text.lower(), same, n=1, cutoff=0) or get_close_matches(text.lower(), examples, n=1)
    if whole:
        return whole[0]
    by_word: dict[str, str] = {}
    for example in examples:
        for word in example.split():
            if len(word) > _JOINING:
                by_word.setdefault(word, example)
    words = get_close_matches(first, list(by_word), n=1, cutoff=0.6)
    return by_word[words[0]] if words else None
