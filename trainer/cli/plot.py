"""``trainmaster plot RUN_DIR``: a picture of a run, of one epoch, or of a bad batch, and the same in words."""

from __future__ import annotations

import shlex
from pathlib import Path
from typing import Final

from trainmaster.terminal import columns, complain, folded, then, working
from trainmaster.trainer.arguments import Arguments, ArgumentsError, reject_unknown, whole_number
from trainmaster.trainer.contract import ExitCode, RunLayout, encode_record
from trainmaster.trainer.pictures.story import Story, read_story
from trainmaster.visible import visible, visible_json

_OPTIONS: Final = frozenset({"out", "epoch", "incident"})
FAILED: Final = 1


def main(arguments: Arguments) -> int:
    """Draw the picture, say where it is and what it shows; the exit code.

    Raises:
        ArgumentsError: no run, or nothing of it to be drawn as asked.
    """
    if bare := arguments.flags & _OPTIONS:
        raise ArgumentsError(f"--{min(bare)} has no value behind it", "--out FILE, --epoch N, --incident N")
    reject_unknown(arguments.flags, {"json"}, "option")
    reject_unknown(arguments.settings, _OPTIONS, "option")
    root, epoch, incident = _wanted(arguments)
    out = Path(arguments.settings.get("out") or f"{root.name}.png").absolute()
    story = read_story(root)
    if epoch is not None and epoch not in {one.epoch for part in (story.rows, story.ends, story.bad) for one in part}:
        raise ArgumentsError(f"{root.name} has no epoch {epoch}", f"the newest is {story.newest_epoch or 'none'}")
    try:
        with working(f"drawing {root.name}"):
            width, height, num_bytes, text = _drawn(root, story, epoch, incident, out)
    except ImportError as error:
        return _failed(f"matplotlib can't be loaded: {error}", "pip install matplotlib")
    except (OSError, ValueError) as error:
        return _failed(f"{out} can't be written: {error}", "name another file with --out")
    record = {"file": str(out), "alt": text, "width_px": width, "height_px": height, "bytes": num_bytes}
    told = folded(visible(f"{out}\n{text}"), columns(), indent="  ")
    print(visible_json(encode_record(record)) if "json" in arguments.flags else told)
    if "json" not in arguments.flags:
        then(_next(root, incident))
    return ExitCode.FINISHED


def _next(root: Path, incident: str | None) -> str:
    place = shlex.quote(str(root))
    if incident is not None:
        return f"trainmaster replay {place} {incident} runs the batch again"
    return f"trainmaster catalog {place} lists the checkpoints"


def _wanted(arguments: Arguments) -> tuple[Path, int | None, str | None]:
    if len(arguments.words) != 1:
        raise ArgumentsError("which run is meant?", "trainmaster plot RUN_DIR [--out FILE] [--epoch N | --incident N]")
    root = Path(arguments.words[0]).absolute()
    layout = RunLayout(root)
    if not (layout.guard.is_dir() or layout.results_csv.is_file()):
        raise ArgumentsError(f"{arguments.words[0]} is no run directory", "it should hold guard/ or results.csv")
    epoch = whole_number(arguments.settings.get("epoch"), "epoch")
    number = whole_number(arguments.settings.get("incident"), "incident")
    if epoch is not None and number is not None:
        raise ArgumentsError("--epoch and --incident are two pictures", "leave one of them out")
    return root, epoch, None if number is None else f"{number:04d}"


def _drawn(root: Path, story: Story, epoch: int | None, incident: str | None, out: Path) -> tuple[int, int, int, str]:
    from trainmaster.trainer.pictures import canvas, curves, sheet, words  # noqa: PLC0415 - loads with its verb

    with canvas.drawing():
        if incident is not None:
            found = sheet.read_sheet(root, incident)
            return (*canvas.save(sheet.sheet_figure(found, story), out), sheet.sheet_text(found, story))
        if epoch is not None:
            return (*canvas.save(curves.epoch_figure(story, epoch), out), words.epoch_text(story, epoch))
        return (*canvas.save(curves.run_figure(story), out), words.run_text(story))


def _failed(message: str, hint: str) -> int:
    complain(f"error: {message}\nHint: {hint}")
    return FAILED
