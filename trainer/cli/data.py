"""``trainmaster data RUN_DIR``: whether the images and labels of a run are as they were."""

from __future__ import annotations

import shlex
from pathlib import Path
from typing import Final

from trainmaster.terminal import columns, folded, then, working
from trainmaster.trainer.arguments import Arguments, ArgumentsError, NoRunError, reject_unknown
from trainmaster.trainer.contract import ExitCode, RunLayout, encode_record
from trainmaster.trainer.data.inventory import DataVerdict, compare
from trainmaster.visible import visible, visible_json

NOT_THE_SAME: Final = 1


def main(arguments: Arguments) -> int:
    """Compare, say what was found; the exit code.

    Raises:
        ArgumentsError: no run directory.
    """
    reject_unknown(arguments.flags, {"json"}, "option")
    reject_unknown(arguments.settings, (), "option")
    if len(arguments.words) != 1:
        raise ArgumentsError("data takes one run directory", "trainmaster data RUN_DIR [--json]")
    layout = RunLayout(Path(arguments.words[0]).absolute())
    if not layout.guard.is_dir():
        what = "run directory: it has no guard/" if layout.root.is_dir() else "directory"
        raise NoRunError(arguments.words[0], f"is no {what}")
    with working(f"comparing the files that {layout.name} trains on"):
        found = compare(layout)
    record = {"verdict": found.verdict.value, "text": found.text}
    told = f"{found.verdict}: {found.text}"
    as_json = "json" in arguments.flags
    print(visible_json(encode_record(record)) if as_json else folded(visible(told), columns(), indent="  "))
    if not as_json:
        then(f"trainmaster resume {shlex.quote(str(layout.root))} goes on with the run")
    return NOT_THE_SAME if found.verdict in {DataVerdict.CHANGED, DataVerdict.UNKNOWN} else ExitCode.FINISHED
