"""Run directories that mean harm, generated: odd names, files that are none, records of anything, traps.

Each has one to four of :data:`tests.attack.harms.HARMS`. Whatever is in them, three things must not come about, and
each has a canary: a program that leaves a mark when it is run, a secret that shows when it was read, and people who
would be mentioned.
"""

from __future__ import annotations

import contextlib
import random
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final

from tests.support.run_dirs import START_TS, WrittenRun

STRANGER: Final = 4242
VIPS: Final = ("U0CLEO", "U0DAN")
"""Nobody on call: a mention of one of them was made by a file."""
PINGS: Final = (
    *("<@U0CLEO>", "<u:U0DAN>", "<!channel>", "<!here|here>", "<!everyone>", "<!subteam^S0VIPS>"),
    *("<#C0VIPS>", "<https://evil.example|status>", "<!date^1^{date}|x>", "&lt;!channel&gt;", "@channel", "*_`~"),
)
ODD: Final = (
    *("\u202egnp.exe", "a\u200bb", "\x1b[31mred\x1b[0m", "line\nbreak", "\rback", "\u2066\u2069", "\x07", "\ufeffbom"),
    *(
        "\u0430dmin",
        "e\u0301" * 30,
        "\U000e0041tag",
        "𝕊",
        "🏳️‍🌈",
        "'; DROP TABLE alerts; --",
        "$(id)",
        "`id`",
        "../../etc",
    ),
    *("%s%s%n", "{0.__class__}", "\\", '"', "-rf", "--help", " ", "nan", "null", "0", "CON", "\x00"),
)


@dataclass(frozen=True, kw_only=True)
class Canaries:
    """In a folder of the operator's, out of reach of whoever planted the runs."""

    folder: Path
    token: str
    """Stands in each secret, and nowhere else."""

    @property
    def mark(self) -> Path:
        """There once something was run."""
        return self.folder / "it-ran"

    @property
    def secret(self) -> Path:
        """Only the operator may read it."""
        return self.folder / "secret.txt"

    @property
    def secret_log(self) -> Path:
        """As a console log, with an error to tell."""
        return self.folder / "secret.log"

    @property
    def program(self) -> Path:
        """Anything that runs it is found out."""
        return self.folder / "python3"

    def lay(self) -> None:
        """All of them are there."""
        self.folder.mkdir(parents=True)
        text = f"root:{self.token}:19000\n"
        self.secret.write_text(text)
        self.secret_log.write_text(f"Traceback (most recent call last):\nRuntimeError: {self.token}\n" * 3)
        for path in (self.secret, self.secret_log):
            path.chmod(0o600)
        self.program.write_text(f"#!/bin/sh\ntouch {self.mark}\n")
        self.program.chmod(0o755)


@dataclass(kw_only=True)
class Hostile:
    """One such directory in the making."""

    run: WrittenRun
    chance: random.Random
    canaries: Canaries
    place: Path
    """Where it is to stand in the end."""
    world_writable: bool = False
    harms: list[str] = field(default_factory=list)

    @property
    def root(self) -> Path:
        return self.run.layout.root

    @property
    def after_s(self) -> float:
        """Now, as the run counts."""
        return time.time() - START_TS

    def text(self) -> str:
        """Something that nobody should obey."""
        return "".join(self.chance.choice((*PINGS, *ODD, "night", "7")) for _ in range(self.chance.randint(1, 3)))

    def anything(self, depth: int = 0) -> Any:
        """A value that no reader expects."""
        makers: list[Callable[[], Any]] = [
            *(lambda: None, lambda: True, self.text, lambda: "", lambda: -1, lambda: 0, lambda: 2**63),
            *(lambda: 10**300, lambda: -(10**4000), lambda: 1e308, lambda: -1e-320, lambda: "nan", lambda: "-inf"),
            *(lambda: 1.5, lambda: "1e999", lambda: float(self.chance.randint(0, 2**60)), lambda: "x" * 50_000),
            lambda: time.time() + self.chance.choice((-1e6, 1e6, 1e10)),
        ]
        if depth < 3:
            makers += [
                lambda: [self.anything(depth + 1) for _ in range(self.chance.randint(0, 4))],
                lambda: {self.text(): self.anything(depth + 1) for _ in range(self.chance.randint(0, 4))},
            ]
        return self.chance.choice(makers)()

    def appear(self) -> None:
        """It is there, whole."""
        self.root.rename(self.place)

    def replace(self, path: Path) -> None:
        """Nothing is there any more."""
        with contextlib.suppress(FileNotFoundError):
            path.unlink()

    def a_file(self) -> Path:
        """One that the bot reads."""
        layout = self.run.layout
        names = (layout.run_json, layout.heartbeat, layout.events, layout.series, layout.train_log, layout.checkpoints)
        return self.chance.choice((*names, layout.stacks, layout.results_csv, layout.guard / "offenders.json"))
