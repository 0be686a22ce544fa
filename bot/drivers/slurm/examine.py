"""Is everything there that runs on a cluster need? Looks, submits two tiny steps, and changes nothing."""

from __future__ import annotations

import os
import shlex
from pathlib import Path
from typing import Final

from trainmaster.bot.core.conversation.message import Item, Mark
from trainmaster.bot.drivers.slurm.client import SlurmClient
from trainmaster.bot.drivers.slurm.rows import ClusterConfig
from trainmaster.bot.errors import DriverError

SRUN_TIMEOUT_S: Final = 30.0
_HELD_S: Final = 3
"""How long a node holds the lock: both start within a second of each other."""


def examine_cluster(client: SlurmClient, runs_dir: Path, longest_save_s: float | None) -> tuple[Item, ...]:
    """One line a check. ``longest_save_s`` is over all runs; None while none was measured. Blocking, up to a minute."""
    try:
        version = client.version()
    except DriverError as error:
        # Debian's commands answer nothing at all without a cluster, which is no fault of a host that has none.
        detail = f"its commands are here and know no cluster (SLURM=off leaves it out): {error.message}"
        return (Item(mark=Mark.UNKNOWN, text="Slurm", detail=detail),)
    items = [Item(mark=Mark.DONE, text="Slurm", detail=f"{version}: its commands are here")]
    try:
        said, config = client.ping(), client.config()
    except DriverError as error:
        return (*items, Item(mark=Mark.FAILED, text="Slurm controller", detail=f"{error.message} {error.hint}"))
    items.append(Item(mark=Mark.DONE, text="Slurm controller", detail=said))
    return (*items, *_settings(config, longest_save_s), *_nodes(client, runs_dir))


def _settings(config: ClusterConfig, longest_save_s: float | None) -> list[Item]:
    age = f"{config.min_job_age_s:.0f} s" if config.min_job_age_s is not None else "a while"
    accounting = Item(mark=Mark.DONE, text="Slurm accounting", detail="sacct remembers how jobs ended")
    if not config.accounting:
        text = f"none: {age} after its end (MinJobAge) nobody knows any more how a job ended"
        accounting = Item(mark=Mark.WARNING, text="Slurm accounting", detail=text)
    requeue = Item(mark=Mark.DONE, text="Requeue", detail="on; a run goes on by itself after it (again=auto)")
    if config.requeues is False:
        text = "JobRequeue=0: trainmaster sbatch asks for it (--requeue); what is submitted by hand must too"
        requeue = Item(mark=Mark.WARNING, text="Requeue", detail=text)
    items = [accounting, requeue, _kill_wait(config, longest_save_s)]
    if config.hides_jobs:
        text = "PrivateData=jobs: the bot sees the jobs of its own user only; others' runs stay unknown"
        items.append(Item(mark=Mark.WARNING, text="Jobs of others", detail=text))
    return items


def _kill_wait(config: ClusterConfig, longest_save_s: float | None) -> Item:
    wait_s = config.kill_wait_s
    if wait_s is None or longest_save_s is None:
        known = "is not told" if wait_s is None else f"is {wait_s:.0f} s"
        return Item(mark=Mark.UNKNOWN, text="KillWait", detail=f"{known}; no save of a run was measured yet")
    detail = f"{wait_s:.0f} s from scancel to SIGKILL; the longest save took {longest_save_s:.0f} s"
    if longest_save_s > wait_s / 2:
        return Item(
            mark=Mark.WARNING,
            text="KillWait",
            detail=f"{detail}: stop runs with /train stop now, which waits for the save, not with scancel",
        )
    return Item(mark=Mark.DONE, text="KillWait", detail=detail)


def _nodes(client: SlurmClient, runs_dir: Path) -> list[Item]:
    """Whether the nodes see RUNS_DIR, and whether a lock there holds between two of them: what keeps two trainers from
    one run when a node is cut off."""
    marker = runs_dir.resolve() / f".trainmaster-doctor-{os.uname().nodename}-{os.getpid()}"
    place = shlex.quote(str(marker))
    ask = f"test -e {place} || {{ echo unseen; exit; }}; flock -n {place} sleep {_HELD_S} && echo got || echo held"
    try:
        marker.touch()
        words = client.on_nodes(2, ask).split()
    except OSError as error:
        text = f"{error.filename} can't be written: {error.strerror}"
        return [Item(mark=Mark.WARNING, text="RUNS_DIR on the nodes", detail=text)]
    except DriverError as error:
        text = f"not tried: two nodes could not be had ({error.message})"
        return [Item(mark=Mark.UNKNOWN, text="RUNS_DIR and its locks on the nodes", detail=text)]
    finally:
        marker.unlink(missing_ok=True)
    if "unseen" in words:
        text = f"{runs_dir} is not the same there: put it on a disk that bot and nodes share"
        return [Item(mark=Mark.FAILED, text="RUNS_DIR on the nodes", detail=text)]
    seen = Item(mark=Mark.DONE, text="RUNS_DIR on the nodes", detail="two nodes see what the bot wrote there")
    if sorted(words) == ["got", "held"]:
        return [seen, Item(mark=Mark.DONE, text="Locks between nodes", detail="one of two nodes got it")]
    text = f"two nodes were told: {' '.join(words) or 'nothing'}. Mount it such that flock holds (NFS: without nolock)"
    return [seen, Item(mark=Mark.FAILED, text="Locks between nodes", detail=text)]
