"""``trainmaster drill RUN_DIR [fault=...] [batches=N]``: spoil the next batches of a training that runs."""

from __future__ import annotations

import shlex
from pathlib import Path

from trainmaster.terminal import then
from trainmaster.trainer.arguments import Arguments, ArgumentsError, NoRunError, reject_unknown, whole_number
from trainmaster.trainer.contract import ExitCode, RunLayout, RunRecordState, is_run_dir, read_json
from trainmaster.trainer.drill import DrillFault, check_fault, request
from trainmaster.visible import visible_line


def main(arguments: Arguments) -> int:
    """Carry out the command line; the exit code."""
    reject_unknown(arguments.flags, (), "flag")
    reject_unknown(arguments.settings, ("fault", "batches"), "key")
    if len(arguments.words) != 1:
        raise ArgumentsError("drill takes one run directory", "trainmaster drill RUN_DIR fault=nan-image")
    layout = RunLayout(Path(arguments.words[0]).resolve())
    if not is_run_dir(layout.root):
        raise NoRunError(layout.root)
    state = (read_json(layout.run_json) or {}).get("state", RunRecordState.RUNNING)
    if state != RunRecordState.RUNNING:
        hint = "a drill spoils batches of a training that runs"
        raise ArgumentsError(f"{layout.name} does not train: it is {state}", hint)
    fault = check_fault(arguments.settings.get("fault", DrillFault.NAN_IMAGE))
    num_batches = whole_number(arguments.settings.get("batches", "1"), "batches") or 1
    request(layout, fault, num_batches)
    batches = f"batch{'es' if num_batches > 1 else ''}"
    print(visible_line(f"asked {layout.name} for {fault} in its next {num_batches} {batches}"))
    then(f"trainmaster watch {shlex.quote(str(layout.root))} shows what the guard does")
    return ExitCode.FINISHED
