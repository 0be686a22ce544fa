"""Which words are a command, and which one was meant."""

from __future__ import annotations

import importlib
import pkgutil

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.support.worlds import ANNA, CommandWorld, FakeRuns
from trainmaster import commands
from trainmaster.bot.core.conversation.request import Origin, Request
from trainmaster.commands import COMMANDS, dispatch, is_command
from trainmaster.commands.base import Command, Needs
from trainmaster.commands.dispatch import match, nearest


async def test_talk_is_no_command_and_has_no_nearest() -> None:
    assert nearest("zzzzqqqq", COMMANDS) is None
    assert nearest("foo bar", COMMANDS) is None  # “for” is not what was meant


@pytest.mark.parametrize(
    ("text", "command"),
    [
        ("shall we go for lunch", False),
        ("status of the coffee machine", False),
        ("status of “my run”", True),
        ("status of digits", True),
        ("stop now", True),
        ("continue because it is one image", True),
        ("continue to watch it, I am back at 8", False),
        ("continue tomorrow", False),
    ],
)
def test_in_a_thread_only_whole_commands_are_taken_for_one(text: str, command: bool) -> None:
    assert is_command(text, COMMANDS) is command


@pytest.mark.parametrize(
    ("typed", "button"),
    [
        ("reject", "Reject"),
        ("Reject it", "Reject"),
        ("no", "Reject"),
        ("approve", "your choice"),
        ("yes!", "your choice"),
    ],
)
async def test_what_only_a_button_does_is_not_answered_with_its_opposite(typed: str, button: str) -> None:
    request = Request(origin=Origin.SLASH, user=ANNA, channel="C0TRAIN", text=typed)
    (told,) = (await dispatch(request, CommandWorld(runs=FakeRuns([])).context, COMMANDS)).message.body
    assert told.startswith("No word does that: press ")
    assert button in told
    assert "rollback" not in told


@settings(max_examples=300, deadline=None)
@given(st.text(max_size=200))
def test_any_text_is_a_command_or_not_but_never_a_fault(text: str) -> None:
    found = match(text, COMMANDS)
    assert found is None or found[0] in COMMANDS
    if text.split():
        nearest(text, COMMANDS)


def test_every_example_is_a_use_of_its_own_command() -> None:
    for command in COMMANDS:
        for example in command.examples:
            found = match(example, COMMANDS)
            assert found is not None, example
            assert found[0] is command, example


def test_every_command_stands_in_the_one_list() -> None:
    modules = [
        importlib.import_module(f"{commands.__name__}.{one.name}") for one in pkgutil.iter_modules(commands.__path__)
    ]
    made = {one.name for module in modules for one in vars(module).values() if isinstance(one, Command)}
    assert made - {one.name for one in COMMANDS} == set(), "COMMANDS in commands/__init__.py lists them"


def test_commands_are_told_apart_by_their_names() -> None:
    names = [command.name for command in COMMANDS]
    assert sorted({name for name in names if names.count(name) > 1}) == []


def test_a_command_that_not_everybody_may_use_says_what_it_does() -> None:
    """As in “only people on call may stop a run”."""
    assert [command.name for command in COMMANDS if command.needs is not Needs.NOTHING and not command.what] == []
