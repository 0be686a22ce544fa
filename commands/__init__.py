"""One file a command. :data:`COMMANDS` is the ordered registry; ``help`` lists them in this order."""

from __future__ import annotations

from typing import Final

from trainmaster.commands.acknowledge import ACK
from trainmaster.commands.alerts import ALERTS
from trainmaster.commands.base import Command, Context, Invocation
from trainmaster.commands.change import EXTEND, SET
from trainmaster.commands.checkpoints import CHECKPOINTS
from trainmaster.commands.compare import COMPARE
from trainmaster.commands.dispatch import dispatch, is_command
from trainmaster.commands.epoch import EPOCH
from trainmaster.commands.explain import EXPLAIN
from trainmaster.commands.help import help_on
from trainmaster.commands.offenders import OFFENDERS
from trainmaster.commands.pause import PAUSE, RESUME_AT
from trainmaster.commands.plan import PLAN
from trainmaster.commands.records import ARCHIVE, AUDIT, BRING_BACK
from trainmaster.commands.resume import CONTINUE, RESUME
from trainmaster.commands.rollback import ROLLBACK
from trainmaster.commands.runs import RUNS, USE
from trainmaster.commands.silence import SILENCE, UNSILENCE
from trainmaster.commands.status import STATUS
from trainmaster.commands.stop import STOP

_WORK: Final[tuple[Command, ...]] = (
    STATUS,
    EPOCH,
    CHECKPOINTS,
    COMPARE,
    OFFENDERS,
    PLAN,
    ROLLBACK,
    SET,
    EXTEND,
    STOP,
    PAUSE,
    RESUME_AT,
    RESUME,
    CONTINUE,
    ALERTS,
    EXPLAIN,
    ACK,
    SILENCE,
    UNSILENCE,
    ARCHIVE,
    BRING_BACK,
    AUDIT,
    RUNS,
    USE,
)
COMMANDS: Final = (*_WORK, help_on(_WORK))

__all__ = ["COMMANDS", "Command", "Context", "Invocation", "dispatch", "is_command"]
