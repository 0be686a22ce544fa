"""``set lr0=0.0002 from now`` and ``extend to 150 epochs``: other settings for a running training, approved first."""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import Final

from trainmaster.bot.core.conversation.message import Reply
from trainmaster.bot.core.decisions.order import ChangeRecipe
from trainmaster.bot.errors import CommandError
from trainmaster.commands.base import RUN_WORD, Command, Context, Fits, Invocation, Needs, pattern, place_of_card
from trainmaster.commands.which_run import find_run

_PAIR: Final = re.compile(r"([A-Za-z_]\w{0,30})\s*=\s*([^\s,;=]{1,40})")
_PAIRS: Final = r"[A-Za-z_]\w{0,30}\s*=\s*[^\s,;=]{1,40}(?:[\s,;]+[A-Za-z_]\w{0,30}\s*=\s*[^\s,;=]{1,40}){0,9}"


async def set_values(invocation: Invocation, context: Context) -> Reply:
    """A card asks the people on call whether the run shall go on with these settings."""
    pairs = [(key.lower(), value) for key, value in _PAIR.findall(invocation.words["pairs"])]
    if len({key for key, _ in pairs}) < len(pairs):
        raise CommandError("setting-twice", "a setting is given twice.", "leave one of them out")
    return await _ask(invocation, context, pairs)


async def extend(invocation: Invocation, context: Context) -> Reply:
    """A card asks the people on call whether the run shall have that many epochs."""
    return await _ask(invocation, context, [("epochs", invocation.words["epochs"])])


async def _ask(invocation: Invocation, context: Context, pairs: Sequence[tuple[str, str]]) -> Reply:
    view = await find_run(invocation, context)
    request = invocation.request
    channel, thread_of = await place_of_card(request, context)
    order = ChangeRecipe(
        run=view.run,
        user=request.user,
        channel=channel,
        thread_of=thread_of,
        settings=tuple(pairs),
    )
    return await context.operations.perform(order)


SET = Command(
    name="set lr0=… from now",
    summary="ask on-call to go on with another setting: a stop and a resume with it",
    examples=("set lr0=0.0002 from now", "set mosaic=0 mixup=0"),
    pattern=pattern(rf"set (?P<pairs>{_PAIRS})(?: from now(?: on)?)?{RUN_WORD}"),
    action=set_values,
    needs=Needs.VOICE,
    what="ask for other settings",
    fits=Fits.AT_WORK,
)
EXTEND = Command(
    name="extend to 150 epochs",
    summary="ask on-call to let the run have that many epochs: a stop and a resume with them",
    examples=("extend to 150 epochs",),
    pattern=pattern(rf"extend(?: it| this run)? to (?P<epochs>\d{{1,6}}) epochs?{RUN_WORD}"),
    action=extend,
    needs=Needs.VOICE,
    what="ask for more epochs",
    fits=Fits.AT_WORK,
)
