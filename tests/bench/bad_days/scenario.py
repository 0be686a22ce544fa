"""Twenty faults, seeded: which, and at which batch of the run."""

from __future__ import annotations

import random
from dataclasses import dataclass
from enum import StrEnum
from typing import Final

EPOCH_S: Final = 5 * 3600.0
"""What an epoch of the small training stands for."""
STORM: Final = 12
"""Bad batches in a row: two more than the guard puts up with."""
BAD_FOR: Final = 64
"""Batches during which an image, or the disk, stays bad: an epoch, in which every image is read."""


class Fault(StrEnum):
    """What happens."""

    NAN = "nan batch"
    IMAGE = "bad image"
    STORM = "nan storm"
    KILL = "kill -9 of the trainer"
    BOT = "kill -9 of the bot"
    MEMORY = "out-of-memory kill"
    HANG = "hang"
    DISK = "full disk"
    SLACK = "Slack away"
    TORN = "torn checkpoint"
    PREEMPTED = "preemption"
    POWER = "power cut"
    LIMIT = "expired time limit"


TIMES: Final = {
    **dict.fromkeys(Fault, 1),
    Fault.NAN: 4,
    Fault.KILL: 3,
    Fault.BOT: 3,
}
"""Twenty together."""
TAKES_A_CLUSTER: Final = frozenset({Fault.PREEMPTED, Fault.LIMIT, Fault.POWER})
ENDS_THE_TRAINER: Final = frozenset(
    {Fault.KILL, Fault.MEMORY, Fault.HANG, Fault.TORN, Fault.PREEMPTED, Fault.POWER, Fault.LIMIT, Fault.STORM}
)
OF_THE_BATCH: Final = frozenset({Fault.NAN, Fault.STORM, Fault.IMAGE})
"""What the undisturbed run that it is compared with has, too: those batches are no batches there either."""
ASKS_A_PERSON: Final = frozenset({Fault.STORM})
"""By the rules: after a trainer that gave up a person decides. One that hangs is stopped and resumed by itself with
``AUTO_RESUME_HANGS=true``, as the world ``auto`` has it."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Planned:
    """``fault`` at ``batch`` of the run, from 0."""

    number: int
    batch: int
    fault: Fault


def scenario(seed: int, *, batches: int, epochs: int) -> list[Planned]:
    """Twenty faults in a run of so many batches an epoch, in a seeded order, each in its own twenty-first of the run
    and none before the first epoch's end."""
    chance = random.Random(seed)
    faults = [fault for fault, times in TIMES.items() for _ in range(times)]
    chance.shuffle(faults)
    first, last = batches, batches * epochs - 2 * BAD_FOR
    share = (last - first) // len(faults)
    room = max(share - BAD_FOR - STORM, 1)
    return [
        Planned(number=number, batch=first + number * share + chance.randrange(room), fault=fault)
        for number, fault in enumerate(faults)
    ]
