"""A stop when nothing can be written: a full disk must not keep a person from stopping a trainer."""

from __future__ import annotations

from trainmaster.bot.core.decisions.operation import JournalEntry, Operation
from trainmaster.bot.errors import TrainmasterError
from trainmaster.bot.operations.operation_context import OperationContext, World
from trainmaster.bot.operations.stop.ending import stop_process


async def stop_without_journal(world: World, operation: Operation) -> str:
    """The trainer is stopped, or the text says what is in the way; nothing is recorded."""
    context = OperationContext(world, operation, commit=_forget, halted_by=lambda: None)
    try:
        return await stop_process(context)
    except TrainmasterError as error:
        return error.told


def _forget(_operation: Operation, _entry: JournalEntry) -> None:
    return None
