"""``offenders``: images that come back in bad batches, and what leaves them out."""

from __future__ import annotations

import shlex
from pathlib import PurePath
from typing import Final

from trainmaster.bot.core.conversation.message import Item, Mark, Message, Reply, Tone
from trainmaster.bot.core.conversation.picture import Sketch
from trainmaster.bot.core.conversation.words import counted
from trainmaster.bot.core.run.offenders import REPEATS, Offender, num_of_drills, offenders_of
from trainmaster.bot.core.run.view import RunView
from trainmaster.commands.base import RUN_WORD, Command, Context, Invocation, pattern
from trainmaster.commands.which_run import find_run

_MAX_SHOWN: Final = 15
_MAX_BATCHES: Final = 4


async def offenders(invocation: Invocation, context: Context) -> Reply:
    """The images of two or more bad batches, those of most first, with a line that leaves them out of training."""
    view = await find_run(invocation, context)
    found, num_images = offenders_of(view)
    if not found:
        return Reply(message=_none(view, num_images))
    left_out = len(found) - _MAX_SHOWN
    message = Message(
        title=f"{view.name}: {counted(len(found), 'image')} came back in bad batches",
        tone=Tone.WARNING,
        body=("Look at them first: an image in two bad batches may still be innocent, as a mosaic shows four.",),
        items=tuple(_item(one) for one in found[:_MAX_SHOWN]),
        excerpt=_leaving_out(view),
        context=(
            *((f"{left_out:,} more not shown",) if left_out > 0 else ()),
            *_left_out(view),
            "/train stop now, then the line above on the host of the run",
        ),
    )
    return Reply(message=message, sketch=_sketch(view, found[0]))


def _sketch(view: RunView, worst: Offender) -> Sketch | None:
    """The newest bad batch with the image of most that was kept whole: its images, the suspect marked."""
    if view.watched_only:
        return None
    kept = [
        bad.incident
        for _, epoch in sorted(view.epochs.items())
        for bad in epoch.bad_batches
        if bad.incident and not bad.drill and worst.image in bad.images
    ]
    return Sketch(run=view.run, incident=kept[-1]) if kept else None


def _none(view: RunView, num_images: int) -> Message:
    told = f"{counted(num_images, 'image')} stood in one bad batch each; one alone proves nothing."
    nothing = "There were no other bad batches" if num_of_drills(view) else "There were no bad batches"
    return Message(
        title=f"{view.name}: no image came back in a second bad batch",
        tone=Tone.GOOD,
        body=(told if num_images else f"{nothing} whose images are known.", *_left_out(view)),
        context=(f"an image is listed from {REPEATS} bad batches on", "/train epoch progress"),
    )


def _left_out(view: RunView) -> tuple[str, ...]:
    """That batches of a drill, whose images the channel shows like those of others, count for nothing."""
    drills = num_of_drills(view)
    return (f"{counted(drills, 'bad batch', 'bad batches')} of a drill left out.",) if drills else ()


def _item(one: Offender) -> Item:
    places = ", ".join(f"epoch {epoch} batch {batch:,}" for epoch, batch in one.places[:_MAX_BATCHES])
    more = f" and {len(one.places) - _MAX_BATCHES} more" if len(one.places) > _MAX_BATCHES else ""
    return Item(
        mark=Mark.WARNING,
        text=f"{PurePath(one.image).name}: in {len(one.places)} bad batches",
        detail=f"{places}{more}",
    )


def _leaving_out(view: RunView) -> str:
    """What a person types on the run's host. Of a guarded run, the trainer keeps the list itself."""
    if not view.guarded:
        return ""
    folder = str(view.directory)
    return f"trainmaster resume {shlex.quote(folder)} " + shlex.quote(f"quarantine={folder}/guard/offenders.json")


OFFENDERS = Command(
    name="offenders",
    summary="images that come back in bad batches, with a ready quarantine= line",
    examples=("offenders",),
    pattern=pattern(r"(?:list |show )?offend(?:ers|ing images)" + RUN_WORD),
    action=offenders,
)
