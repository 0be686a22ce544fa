"""One file a command. :data:`COMMANDS` is the ordered registry; ``help`` lists them in this order."""

from __future__ import annotations

from typing import Final

from commands.acknowledge import ACK
from commands.alerts import ALERTS
from commands.base import Command, Context, Invocation
from commands.dispatch import dispatch, is_command
from commands.epoch import EPOCH
from commands.help import HELP
from commands.records import ARCHIVE, AUDIT, BRING_BACK
from commands.resume import CONTINUE, RESUME
from commands.rollback import ROLLBACK
from commands.runs import RUNS, USE
from commands.silence import SILENCE, UNSILENCE
from commands.status import STATUS
from commands.stop import STOP

COMMANDS: Final[tuple[Command, ...]] = (
    STATUS,
    EPOCH,
    ROLLBACK,
    STOP,
    RESUME,
    CONTINUE,
    ALERTS,
    ACK,
    SILENCE,
    UNSILENCE,
    ARCHIVE,
    BRING_BACK,
    AUDIT,
    RUNS,
    USE,
    HELP,
)

__all__ = ["COMMANDS", "Command", "Context", "Invocation", "dispatch", "is_command"]
