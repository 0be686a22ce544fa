"""A Dockerfile as its instructions, to check them and to run its steps where no builder is."""

from __future__ import annotations

import re
from dataclasses import dataclass
from pathlib import Path


@dataclass(frozen=True, slots=True, kw_only=True)
class Instruction:
    """``name`` in capitals; ``rest`` on one line."""

    name: str
    rest: str


def read_stages(path: Path) -> list[list[Instruction]]:
    """The instructions of each stage, ``FROM`` first; arguments before the first are left out."""
    text = "\n".join(line for line in path.read_text(encoding="utf-8").splitlines() if not line.startswith("#"))
    stages: list[list[Instruction]] = []
    for line in re.sub(r"\\\n\s*", "", text).splitlines():
        name, _, rest = line.strip().partition(" ")
        if name == "FROM":
            stages.append([])
        if name and stages:
            stages[-1].append(Instruction(name=name, rest=rest.strip()))
    return stages


def copied(stage: list[Instruction]) -> list[str]:
    """What a stage takes from the checkout."""
    lines = [one.rest.split() for one in stage if one.name == "COPY" and not one.rest.startswith("--from")]
    return [source for words in lines for source in words[:-1]]
