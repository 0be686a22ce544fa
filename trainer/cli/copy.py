"""``trainmaster copy RUN_DIR``: copy what is clean of a run; and the way back, for the verbs that need the files."""

from __future__ import annotations

import os
import shlex
from collections.abc import Sequence
from pathlib import Path

from trainmaster.terminal import complain, then, working
from trainmaster.trainer.arguments import Arguments, ArgumentsError, NoRunError, reject_unknown, whole_number
from trainmaster.trainer.checkpoints.files import DigestError
from trainmaster.trainer.contract import ExitCode, RunLayout, encode_record, is_run_dir
from trainmaster.trainer.copies.copying import Copying
from trainmaster.trainer.copies.held import held_of
from trainmaster.trainer.copies.place import CopyError, Folder, below, check_place, shown, wanted_place
from trainmaster.trainer.copies.taking_back import INTO, TakenBack, begun_at, is_address, take_back, take_back_if_lost
from trainmaster.trainer.settings.guard_settings import GuardSettings
from trainmaster.visible import visible, visible_json

FAILED = 1
"""The place of copies can't be used: not the user's words."""


def main(arguments: Arguments) -> int:
    """Carry out the command line; the exit code."""
    listing = "list" in arguments.flags  # a run that is gone has copies, too
    reject_unknown(arguments.flags, ("list", "json") if listing else ("background", "list"), "flag")
    reject_unknown(arguments.settings, ("to", "keep", "follow"), "key")
    if len(arguments.words) != 1:
        raise ArgumentsError("copy takes one run directory", "trainmaster copy RUN_DIR to=/mnt/other-disk/copies")
    if not (listing or is_run_dir(Path(arguments.words[0]))):
        raise NoRunError(arguments.words[0])
    layout = RunLayout(Path(arguments.words[0]).resolve())
    place = wanted_place(arguments.settings.get("to"), os.environ)
    if place is None:
        raise ArgumentsError("it is not known where to copy to", "set COPY_TO, or give to=/mnt/other-disk/copies")
    check_place(place)
    if listing:
        return _listed(layout, place, as_json="json" in arguments.flags)
    keep = whole_number(arguments.settings.get("keep"), "keep") or GuardSettings().copy_keep
    pid = whole_number(arguments.settings.get("follow"), "follow")
    if pid is not None:
        from trainmaster.trainer.copies.following import follow, leave_the_family  # noqa: PLC0415 - loads psutil

        if "background" in arguments.flags:
            leave_the_family()
        follow(layout, place, keep=keep, pid=pid)
        return ExitCode.FINISHED
    address = below(place, layout.name)
    try:
        with working(f"copying to {shown(address)}") as tell:
            number = Copying(layout, Folder(address), keep=keep).look(
                lambda left: tell(f"copying to {shown(address)}, {left} left")
            )
    except (CopyError, OSError) as error:
        complain(f"error: {error}")
        return FAILED
    print(
        visible(f"{shown(address)}: {number} file{'' if number == 1 else 's'} copied; it has all that is worth having")
    )
    then(f"trainmaster resume {shlex.quote(shown(address))} takes the run back from there")
    return ExitCode.FINISHED


def _listed(layout: RunLayout, place: str, *, as_json: bool) -> int:
    try:
        held = held_of(layout.root, place)
    except CopyError as error:
        complain(f"error: {error}")
        return FAILED
    record = {"place": held.shown, "files": held.num_files, "epoch": held.epoch, "ts": held.ts, "command": held.command}
    told = (
        f"{held.shown}: {held.num_files} files, the newest of epoch {held.epoch}\nto go on from there: {held.command}"
    )
    print(visible_json(encode_record(record)) if as_json else visible(told))
    return ExitCode.FINISHED


def recovered(word: str, into: str | None) -> Path:
    """The run directory that ``word`` names, with what it lost taken back from its copies.

    Raises:
        ArgumentsError: there are copies, or ought to be, and they could not be taken back.
    """
    try:
        if is_address(word):
            with working(f"taking back {shown(word)}"):
                back = take_back(word, into=Path(into).resolve() if into else None)
            return _said(back).layout.root
        root = Path(word).resolve()
        if into is not None:
            raise ArgumentsError(f"{INTO}= belongs to the address of copies; {word} is none")
        if (found := take_back_if_lost(root, os.environ)) is not None:
            _said(found)
        elif (place := begun_at(root)) is not None:
            raise ArgumentsError(
                f"nothing was resumed: not all of {root} has come back from {place} yet",
                f"trainmaster resume {shlex.quote(place)}, or set COPY_TO, and the rest comes",
            )
    except (CopyError, DigestError, OSError) as error:
        raise ArgumentsError(
            f"nothing was resumed: {error}", "what came back so far stays; the same command goes on"
        ) from error
    return root


def recover_lost(words: Sequence[str]) -> None:
    """The run that ``words`` name first has its files, if it lost them and there are copies. A place that can't be
    asked costs a line."""
    named = [word for word in words if not word.startswith("-") and "=" not in word]
    if not named:
        return
    try:
        if (found := take_back_if_lost(Path(named[0]).resolve(), os.environ)) is not None:
            _said(found)
    except (CopyError, DigestError, OSError, ArgumentsError) as error:
        complain(f"its copies could not be taken back: {error}")


def _said(found: TakenBack) -> TakenBack:
    complain(found.text)
    return found
