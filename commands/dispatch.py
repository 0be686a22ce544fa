"""From words to a command, or to the nearest one."""

from __future__ import annotations

from difflib import get_close_matches

from bot.core.message import Message, Reply, Tone
from bot.core.request import Request
from commands.base import Command, Context, Invocation, require_on_call

_MAX_ECHO = 80


def match(text: str, commands: tuple[Command, ...]) -> tuple[Command, dict[str, str]] | None:
    """The first command that the whole of ``text`` is a use of."""
    for command in commands:
        words = command.match(text)
        if words is not None:
            return command, words
    return None


def is_command(text: str, commands: tuple[Command, ...]) -> bool:
    """Whether ``text`` is a command as a whole; other talk in a thread is none of ours."""
    return match(text, commands) is not None


async def dispatch(request: Request, context: Context, commands: tuple[Command, ...]) -> Reply:
    """The answer of the command that was meant, or the nearest one by name; nothing is done on a guess.

    Raises:
        TrainmasterError: the command can't be carried out; the message is for the person.
    """
    text = " ".join(request.text.split()) or "help"
    found = match(text, commands)
    if found is None:
        return _unknown(text, commands)
    command, words = found
    invocation = Invocation(request=request, words=words)
    if command.on_call_only:
        await require_on_call(invocation, context, command.name)
    return await command.action(invocation, context)


def _unknown(text: str, commands: tuple[Command, ...]) -> Reply:
    near = nearest(text, commands)
    shown = text if len(text) <= _MAX_ECHO else text[:_MAX_ECHO] + "…"
    body = f"Did you mean /train {near}?" if near else "These are understood: /train help"
    message = Message(
        title=f"“{shown}” is no command", tone=Tone.WARNING, body=(body,), context=("Nothing was done. /train help",)
    )
    return Reply(message=message, private=True)


def nearest(text: str, commands: tuple[Command, ...]) -> str | None:
    """The example that ``text`` most looks like; None when it looks like none."""
    examples = [example for command in commands for example in command.examples]
    whole = get_close_matches(text.lower(), examples, n=1, cutoff=0.55)
    if whole:
        return whole[0]
    first = text.lower().split()[0]
    by_word: dict[str, str] = {}
    for example in examples:
        for word in example.split():
            by_word.setdefault(word, example)
    words = get_close_matches(first, list(by_word), n=1, cutoff=0.6)
    return by_word[words[0]] if words else None
