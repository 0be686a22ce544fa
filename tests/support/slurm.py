"""A real Slurm of three nodes on this machine: each node with its own host name, pids, ``/proc`` and boot id."""

from __future__ import annotations

import os
import shutil
import subprocess
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from tempfile import mkdtemp
from typing import Final, TypeVar

import pytest

from tests.support.leftovers import MARK

SCRIPT: Final = Path(__file__).with_name("slurm-up")
PROGRAMS: Final = ("slurmctld", "slurmd", "munged", "sbatch", "unshare")
Seen = TypeVar("Seen")

needs_slurm = pytest.mark.skipif(
    any(shutil.which(one, path=f"{os.environ.get('PATH', '')}:/usr/sbin:/sbin") is None for one in PROGRAMS),
    reason="no Slurm: apt-get install --no-install-recommends slurmctld slurmd slurm-client munge",
)


class Cluster:
    """Made by :func:`cluster`. ``environ`` is what a command needs to reach it."""

    def __init__(self, lab: Path, **settings: str) -> None:
        self.lab = lab
        self.environ = {"SLURM_CONF": str(lab / "slurm.conf")}
        self._settings = {"SLURM_LAB": str(lab), "KILL_WAIT": "5", **settings}

    def do(self, *words: str) -> str:
        """``slurm-up`` with ``words``; its daemons belong to no single test."""
        kept = {name: value for name, value in os.environ.items() if name != MARK}
        done = subprocess.run(
            ["bash", str(SCRIPT), *words],
            env={**kept, **self._settings},
            capture_output=True,
            text=True,
            timeout=90,
            check=False,
        )
        assert done.returncode == 0, done.stderr + done.stdout
        return done.stdout

    def ask(self, *argv: str, check: bool = True) -> str:
        """What one of Slurm's commands says."""
        env = {**os.environ, **self.environ, "SLURM_TIME_FORMAT": "%s", "LC_ALL": "C"}
        done = subprocess.run(list(argv), env=env, capture_output=True, text=True, timeout=60, check=False)
        assert not check or done.returncode == 0, done.stderr
        return done.stdout

    def job(self, number: str) -> dict[str, str]:
        """A job by the names of ``squeue -O``; empty when the controller does not remember it."""
        names = ("State", "Reason", "RestartCnt", "NodeList", "StartTime", "exit_code")
        out = self.ask(
            *("squeue", "-h", "-t", "all", "-j", number, "-O", ",".join(f"{n}:|" for n in names)), check=False
        )
        return dict(zip(names, out.strip().split("|"), strict=False)) if out.strip() else {}

    def jobs(self) -> list[str]:
        """Numbers of the jobs that wait or run."""
        return self.ask("squeue", "-h", "-O", "JobID:|").replace("|", " ").split()

    def nodes_are_up(self) -> None:
        """Every node takes jobs again."""
        for node in self.nodes:
            self.do("node-up", node)
        self.do("ctl-up")
        self.ask("scontrol", "update", f"NodeName={','.join(self.nodes)}", "State=RESUME", check=False)
        until(lambda: "down" not in self.ask("sinfo", "-h", "-o", "%T"), what="nodes that answer", timeout_s=60)

    @property
    def nodes(self) -> list[str]:
        """Their names."""
        return [f"n{number}" for number in range(1, int(self._settings.get("NODES", "3")) + 1)]

    def log(self) -> str:
        """What the controller has written down."""
        return (self.lab / "log" / "slurmctld.log").read_text(errors="replace")

    def clear(self) -> None:
        """No job waits or runs."""
        if numbers := self.jobs():
            self.ask("scancel", *numbers, check=False)
            self.ask("scancel", "--signal=KILL", "--batch", *numbers, check=False)
        until(lambda: not self.jobs(), what="an empty queue", timeout_s=40)


@contextmanager
def cluster(**settings: str) -> Iterator[Cluster]:
    """A cluster of its own, gone afterwards. ``settings`` as of ``slurm-up``: NODES, KILL_WAIT, MIN_JOB_AGE, EXTRA."""
    lab = Path(mkdtemp(prefix="tm-slurm-"))  # munge's socket allows no long path
    lab.chmod(0o755)
    made = Cluster(lab / "lab", **settings)
    try:
        made.do("start")
        yield made
    finally:
        made.do("stop")
        shutil.rmtree(lab, ignore_errors=True)


def until(seen: Callable[[], Seen], *, what: str, timeout_s: float = 30.0, every_s: float = 0.2) -> Seen:
    """The first truthy ``seen()``."""
    end = time.monotonic() + timeout_s
    while True:
        if found := seen():
            return found
        assert time.monotonic() < end, f"waited in vain for {what}"
        time.sleep(every_s)


def environment(cluster: Cluster, extra: Mapping[str, str] | None = None) -> dict[str, str]:
    """Of a bot or a person on a login node of the cluster."""
    return {**os.environ, **cluster.environ, **(extra or {})}
