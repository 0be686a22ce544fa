"""Whether what a run trains on is as it was: the trainer's own ``data`` verb, in a process that can be ended."""

from __future__ import annotations

import asyncio
import json
import sys
from contextlib import suppress
from pathlib import Path
from typing import Any, Final

from trainmaster.bot.drivers.local.environment import trainer_environment
from trainmaster.trainer.contract import MODULE_ARGV

TIMEOUT_S: Final = 30.0
"""Three times what the trainer took at most to write down what there was (trainer/data/inventory.py)."""
_END_S: Final = 1.0
"""A process on a dead mount does not end when it is killed; nobody waits for it."""


async def data_difference(directory: Path, *, timeout_s: float = TIMEOUT_S) -> str:
    """What is not as it was in the data of the run in ``directory``; empty where everything is, and where it was never
    written down what there was. The bot's own Python is asked: nothing that the run names is started.

    Raises:
        OSError: that can't be told; TimeoutError, which is one, when it could not be told in time.
    """
    process = await asyncio.create_subprocess_exec(
        *(sys.executable, *MODULE_ARGV, "data", str(directory), "--json"),
        cwd="/",
        env=trainer_environment({}),
        stdin=asyncio.subprocess.DEVNULL,
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.DEVNULL,
        start_new_session=True,
    )
    try:
        async with asyncio.timeout(timeout_s):
            out, _ = await process.communicate()
    except TimeoutError:
        raise TimeoutError(f"its files could not be looked through within {timeout_s:g} s") from None
    finally:
        await _end(process)
    record = _record(out)
    verdict, text = record.get("verdict"), str(record.get("text"))
    if verdict == "changed":
        return text
    if verdict not in {"same", "unrecorded"}:
        raise OSError(text if verdict == "unknown" else f"trainmaster data {directory} gave no answer")
    return ""


def _record(out: bytes) -> dict[str, Any]:
    try:
        value = json.loads(out)
    except ValueError:
        return {}
    return value if isinstance(value, dict) else {}


async def _end(process: asyncio.subprocess.Process) -> None:
    if process.returncode is None:
        with suppress(ProcessLookupError):
            process.kill()
        with suppress(TimeoutError):
            async with asyncio.timeout(_END_S):
                await process.wait()
