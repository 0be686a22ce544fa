"""From words to a command, or to the nearest one."""

from __future__ import annotations

import re
from difflib import get_close_matches

from trainmaster.bot.core.conversation.message import Message, Reply, Tone
from trainmaster.bot.core.conversation.request import Request
from trainmaster.bot.core.conversation.words import quoted
from trainmaster.commands.age import refuse_old
from trainmaster.commands.base import EXAMPLE_RUN, Command, Context, Invocation, Needs
from trainmaster.commands.care import refuse_told_elsewhere
from trainmaster.commands.which_run import for_people, run_acted_on, typed_run, without_run

_MAX_ECHO = 80
_MAX_LOOKED_AT = 300
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
_ALIKE = 0.8
"""Of a word and the one that was meant."""
_PART = re.compile(r"[^\W\d]+|\d+")
_NUMBER = re.compile(r"(?<![\w.-])\d+(?:[.:]\d+)*")
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
        return _unknown(text, request, commands, context)
    command, words = found
    invocation = Invocation(request=request, words=words, acts=command.acts)
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


def _unknown(text: str, request: Request, commands: tuple[Command, ...], context: Context) -> Reply:
    pressed = _PRESSED.get(text.lower().split()[0].strip("!.,"))
    near = _meant(text[:_MAX_LOOKED_AT], request, commands, context) if pressed is None else None
    shown = text if len(text) <= _MAX_ECHO else text[:_MAX_ECHO] + "…"
    body = f"Did you mean /train {near}?" if near else "These are understood: /train help"
    body = pressed or body
    message = Message(
        title=f"“{shown}” is no command", tone=Tone.WARNING, body=(body,), context=("Nothing was done. /train help",)
    )
    return Reply(message=message, private=True)


def _meant(text: str, request: Request, commands: tuple[Command, ...], context: Context) -> str | None:
    """The nearest command, with the run that was typed, or the one that it would act on: whoever repeats it must not
    act on another run."""
    typed = typed_run(text, context)
    rest = without_run(text, typed) if typed else text
    near = (nearest(rest, commands, named=bool(typed)) if rest else None) or nearest(text, commands)
    if near is None:
        return None
    near = _with_numbers(near, rest)
    found = match(near, commands)
    asked = found is not None and found[0].acts and len(context.runs.all()) > 1
    in_mind = run_acted_on(request, context) if asked else None
    name = typed or (in_mind.name if in_mind is not None else "")
    near = for_people(near, context, name)
    whole = f"{near} of {quoted(name)}"
    found = match(whole, commands) if name else None
    return whole if found is not None and found[1].get("run") == name else near


def _with_numbers(example: str, typed: str) -> str:
    """``example`` with the numbers that were ``typed``, where it has as many: epoch 7 was meant, not 4. Ten more
    are not ten."""
    given = _NUMBER.findall(typed)
    fits = len(given) == len(_NUMBER.findall(example)) and "by" not in _parts(typed)
    return _NUMBER.sub(lambda _: given.pop(0), example) if fits else example


def nearest(text: str, commands: tuple[Command, ...], *, named: bool = False) -> str | None:
    """The example that ``text`` most looks like; None when it looks like none. ``named``: with it a run was named."""
    examples = [example for command in commands for example in command.examples]
    first = text.lower().split()[0]
    same = [example for example in examples if example.split()[0] == first]
    if same:  # the shortest of those that share most words: what was not said is not added
        known = frozenset[str]().union(*map(_parts, same))
        said = _parts(f"{text} {EXAMPLE_RUN}" if named else text)
        typed = {one for part in said for one in get_close_matches(part, known, n=1, cutoff=_ALIKE)}
        return max(same, key=lambda one: (named or EXAMPLE_RUN not in one, len(typed & _parts(one)), -len(one.split())))
    whole = get_close_matches(text.lower(), examples, n=1)
    if whole:
        return whole[0]
    by_word: dict[str, str] = {}
    for example in examples:
        for word in example.split():
            if len(word) > _JOINING:
                by_word.setdefault(word, example)
    words = get_close_matches(first, list(by_word), n=1, cutoff=0.6)
    return by_word[words[0]] if words else None


def _parts(text: str) -> frozenset[str]:
    """Its words, every number as the same one."""
    return frozenset("0" if part.isdigit() else part for part in _PART.findall(text.lower()))
