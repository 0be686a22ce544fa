"""Operations as tasks of this bot process, and those that another one left behind."""

from __future__ import annotations

import asyncio
import logging

from trainmaster.bot.core.decisions.operation import Operation
from trainmaster.bot.core.run.facts import ProcessIdentity
from trainmaster.bot.operations.engine import Engine, JournalError
from trainmaster.bot.operations.ports import Driver, OperationLog
from trainmaster.bot.ports import Clock

_LOG = logging.getLogger(__name__)


class OperationTasks:
    """An operation has one task at most, and only in the process that owns it."""

    def __init__(
        self, engine: Engine, log: OperationLog, driver: Driver, clock: Clock, instance: ProcessIdentity
    ) -> None:
        self._engine = engine
        self._operations = log
        self._driver = driver
        self._clock = clock
        self._instance = instance
        self._tasks: dict[str, asyncio.Task[Operation]] = {}

    def start(self, operation: Operation) -> None:
        """The operation is under way."""
        task = asyncio.create_task(self._engine.run(operation), name=f"operation {operation.id}")
        task.add_done_callback(_log_fault)
        self._tasks = {known: one for known, one in self._tasks.items() if not one.done()}
        self._tasks[operation.id] = task

    def recover(self) -> None:
        """Every open operation whose owner is gone belongs to this process and goes on from its last journal line.
        Operations of another bot process that lives, or may live on another host, are left alone, and so are all while
        another bot acts on the run.

        Raises:
            StoreError: the journal cannot be read or written.
        """
        for operation in self._operations.open():
            task = self._tasks.get(operation.id)
            if task is not None and not task.done():
                continue
            if self._engine.world.hands_off(operation.directory):
                continue
            if operation.owner == self._instance:
                self.start(operation)
            elif self._driver.inspect(operation.owner).over:
                claimed = self._operations.claim(operation, self._instance, self._clock.now())
                if claimed is not None:
                    _LOG.info("operation %s is taken over in step %s", claimed.id, claimed.step)
                    self.start(claimed)

    async def settle(self) -> None:
        """No operation of this process is under way."""
        while running := [task for task in self._tasks.values() if not task.done()]:
            await asyncio.wait(running)

    async def close(self) -> None:
        """Running operations are left where they are; :meth:`recover` takes them up."""
        running = [task for task in self._tasks.values() if not task.done()]
        for task in running:
            task.cancel()
        await asyncio.gather(*running, return_exceptions=True)


def _log_fault(task: asyncio.Task[Operation]) -> None:
    if task.cancelled():
        return
    error = task.exception()
    if isinstance(error, JournalError):
        _LOG.error("%s waits: %s", task.get_name(), error)
    elif error is not None:
        _LOG.error("%s failed", task.get_name(), exc_info=error)
