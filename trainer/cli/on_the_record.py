"""The frame of the verbs that train: console output is kept, and every end of the training is an exit code."""

from __future__ import annotations

import importlib
import sys
import traceback
from collections.abc import Callable
from typing import Any

from trainmaster.loading import loaded, loading
from trainmaster.trainer.arguments import ArgumentsError
from trainmaster.trainer.contract import ExitCode
from trainmaster.trainer.engines.unimportable import not_importable


def train_by(trainer_class: Callable[..., Any], overrides: dict[str, Any]) -> int:
    """Train to the end; the exit code."""
    trainer = trainer_class(overrides=overrides)
    trainer.add_callback("on_train_start", lambda _: loaded())
    trainer.train()
    return ExitCode.FINISHED


def on_the_record(start: Callable[[], int]) -> int:
    """``start`` with its console output kept, and its end as an exit code.

    Raises:
        ArgumentsError: what was asked for cannot be, or this Ultralytics is none that can be guarded.
    """
    with loading():
        return _started(start)


def _started(start: Callable[[], int]) -> int:
    from trainmaster.trainer.records.console import copying  # noqa: PLC0415 - loads torch
    from trainmaster.trainer.run import offline  # noqa: PLC0415 - only for verbs that train

    offline.before_import()
    compat = _imported("trainmaster.trainer.engines.compat")
    compat.require()  # before anything that an older or newer Ultralytics may not have is imported
    with copying():
        from trainmaster.trainer.stop import RunEnded, stoppable  # noqa: PLC0415 - after the environment is set

        try:
            with stoppable(lambda text: print(text, file=sys.stderr)):
                _imported("trainmaster.trainer.guard")
                return start()
        except ArgumentsError:
            raise
        except RunEnded as end:
            return int(end.code or 0)
        except SystemExit:  # of a callback: on record as a crash, and its code would be taken for one of ours
            traceback.print_exc()
            return 1
        except Exception:  # noqa: BLE001 - the command's edge: printed, on record already, and told by the exit code
            traceback.print_exc()
            return 1


def _imported(module: str) -> Any:
    """``module``, which rests on Ultralytics.

    Raises:
        ArgumentsError: it can't be imported.
    """
    try:
        return importlib.import_module(module)
    except ArgumentsError:
        raise
    except (Exception, SystemExit) as error:  # files that were edited fail in any way; an exit code of theirs is none
        raise not_importable(error) from error
