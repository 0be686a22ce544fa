"""``verify CHECKPOINT [--json]``: judge one file. Loads no torch and starts in a blink."""

from __future__ import annotations

import os
import shlex
from pathlib import Path
from typing import Final

from trainmaster.trainer.arguments import Arguments, ArgumentsError
from trainmaster.trainer.checkpoints import report
from trainmaster.trainer.checkpoints.cli import Outcome, words_of
from trainmaster.trainer.checkpoints.forensics import judge
from trainmaster.trainer.checkpoints.ledger import Attestation, attestations
from trainmaster.trainer.contract import ARCHIVE_DIR_NAME, ExitCode, RunLayout, Verdict

_A_CHECKPOINT: Final = (
    "name a checkpoint, such as runs/night/weights/last.pt; trainmaster catalog RUN_DIR shows those of a run"
)


def verify(arguments: Arguments) -> Outcome:
    """Judge the file with the attestations of the run that it lies in; exit 0 for clean, 5 for anything else."""
    (word,) = words_of(arguments, "a checkpoint file", flags=frozenset({"json"}))
    path = Path(word)
    if path.is_dir():
        raise ArgumentsError(
            f"{path} is a folder", f"to judge all checkpoints of a run: trainmaster catalog {shlex.quote(str(path))}"
        )
    try:
        if not path.is_file():
            what = f"{path} is no file but a device or a pipe" if path.exists() else f"there is no file {path}"
            raise ArgumentsError(what, _A_CHECKPOINT)
        judgement = judge(path, attestations=attestations_near(path))
    except (FileNotFoundError, NotADirectoryError):
        raise ArgumentsError(f"there is no file {path}", _A_CHECKPOINT) from None
    except PermissionError as error:
        raise ArgumentsError(f"{error.filename or path} can't be read: {error.strerror}") from None
    code = ExitCode.FINISHED if judgement.verdict is Verdict.CLEAN else ExitCode.REFUSED
    return code, report.judgement_record(judgement), report.judgement_text(judgement)


def attestations_near(path: Path) -> list[Attestation]:
    """Those of the run that ``path`` lies in, or whose archive it lies in."""
    place = path.resolve()
    for folder in list(place.parents)[:5]:
        roots = [folder]
        if folder.parent.name == ARCHIVE_DIR_NAME:
            roots.append(folder.parent.parent / folder.name)
        for root in roots:
            layout = RunLayout(root)
            if os.path.lexists(layout.checkpoints):  # one that is no file may hide a verdict: it is an error
                return attestations(layout)
    return []
