"""Trainers on this host, by psutil and pidfd. A process is its pid *and* its start time, on this boot of this host."""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import time
from collections.abc import Iterable
from contextlib import suppress
from pathlib import Path
from typing import Final

import psutil

from trainmaster.bot.core.run.facts import ProcessFact, ProcessIdentity, ProcessStatus
from trainmaster.bot.core.run.launch_spec import Force, LaunchSpec
from trainmaster.bot.drivers.local.environment import trainer_environment
from trainmaster.bot.drivers.local.families import Families
from trainmaster.bot.drivers.local.launch_environment import LaunchEnvironments
from trainmaster.bot.drivers.local.launches import KEY_VARIABLE, Launches
from trainmaster.bot.drivers.local.out_of_memory import OomWitness
from trainmaster.bot.drivers.local.proc_stat import ProcStat, ProcTable, read_stat
from trainmaster.bot.drivers.local.start_times import StartTimes
from trainmaster.bot.drivers.local.trainer_process import own_family
from trainmaster.bot.errors import DriverError
from trainmaster.trainer.contract import RUN_VARIABLE, boot_id

_STANDING: Final = {"T": "stopped by a signal (SIGSTOP)", "Z": "ended, but for a thread that the kernel holds"}
_FIND_TIMEOUT_S: Final = 5.0
"""How long a launched process may take from fork to exec, before it can be seen to carry its key."""


class LocalDriver:
    """Implements :class:`trainmaster.bot.operations.ports.Driver` for processes of this host.

    ``launches`` is a folder of the bot's own. Every launch holds a lock on a file there for as long as the process or
    any child of it lives, so a launch that a killed bot left behind is found, even in the instant before its ``exec``.
    """

    def __init__(self, launches: Path) -> None:
        self._host = socket.gethostname()
        self._boot_id = boot_id()
        self._launches = Launches(launches)
        self.environments = LaunchEnvironments(launches / "environments")
        self._start_times = StartTimes(launches / "boot.json", self._boot_id)
        self._children: dict[ProcessIdentity, subprocess.Popen[bytes]] = {}
        self._meters: dict[ProcessIdentity, tuple[float, float]] = {}
        self._last_rss_gib: dict[ProcessIdentity, float] = {}
        self._families = Families(ProcTable())
        self._oom = OomWitness()

    def identify(self, pid: int) -> ProcessIdentity | None:
        """The identity of the process that has ``pid`` now; None when there is none."""
        try:
            return self._identity(psutil.Process(pid))
        except (psutil.NoSuchProcess, ValueError):  # the latter of a number below 0
            return None
        except psutil.Error as error:
            raise _refused(pid, error) from error

    def inspect(self, process: ProcessIdentity) -> ProcessFact:
        """What is known of it now; ``UNKNOWN`` on another host, and never an exception."""
        now = time.time()
        elsewhere = self._elsewhere(process)
        if elsewhere:
            return ProcessFact(status=ProcessStatus.UNKNOWN, ts=now, detail=elsewhere)
        if process.boot_id and self._boot_id and process.boot_id != self._boot_id:
            return ProcessFact(
                status=ProcessStatus.GONE, ts=now, rebooted=True, detail="the host has been restarted since"
            )
        try:
            return self._inspect_here(process, now)
        except (psutil.Error, OSError, ValueError, IndexError) as error:
            return ProcessFact(status=ProcessStatus.UNKNOWN, ts=now, detail=str(error))

    def _inspect_here(self, process: ProcessIdentity, now: float) -> ProcessFact:
        exit_code, signum = self._reap(process)
        found = read_stat(process.pid)
        same = found is not None and self._is(process, found)
        if found is not None and same and not found.over:
            self._oom.note(process)
            self._last_rss_gib[process] = rss_gib = found.rss_bytes / 2**30
            return ProcessFact(
                status=ProcessStatus.ALIVE,
                ts=now,
                cpu_pct=self._cpu_pct(process, found),
                rss_gib=rss_gib,
                children=self._families.note(process),
                detail=_STANDING.get(found.state, ""),
            )
        status, detail = ProcessStatus.GONE, ""
        if found is not None and same:
            status = ProcessStatus.ZOMBIE
            if exit_code is None and signum is None and found.wait_status:
                exit_code, signum = _ending(found.wait_status)
        elif found is not None:
            status = ProcessStatus.REPLACED
            detail = f"process {process.pid} is another one now: {found.name}"
        orphans = self._families.orphans(process, replaced=status is ProcessStatus.REPLACED)
        return ProcessFact(
            status=status,
            ts=now,
            exit_code=exit_code,
            signal=signum,
            rss_gib=self._last_rss_gib.get(process),
            orphans=tuple(one.pid for one in orphans if one.pid not in own_family()) if orphans else (),
            oom=self._oom.evidence(process),
            detail=detail,
        )

    def signal(self, process: ProcessIdentity, signum: int, *, group: bool = False) -> bool:
        """The signal went to exactly this process; with ``group`` also to every :meth:`survivors`. False when the
        process (with ``group``: all of them) is not alive.

        Raises:
            DriverError: another host, no permission, or it is the bot itself or something that the bot runs under.
        """
        if process.pid in own_family():
            raise DriverError(
                "process-own",
                f"process {process.pid} is the bot's own or one that it runs under; it was not signalled.",
                "see which process the run's record names",
            )
        elsewhere = self._elsewhere(process)
        if elsewhere:
            raise DriverError(
                "process-elsewhere", f"process {process.pid} {elsewhere}.", "send the signal on that host"
            )
        members = self.survivors(process) if group else ()
        sent = self._send(process, signum)
        for member in members:
            sent = self._send(member, signum) or sent
        return sent

    def stop(self, process: ProcessIdentity, force: Force) -> bool:
        """The process was asked to end, it and all :meth:`survivors` were, or all were killed. False when it (or all of
        them) is not alive.

        Raises:
            DriverError: another host, or no permission.
        """
        signum = signal.SIGKILL if force is Force.KILL else signal.SIGTERM
        return self.signal(process, signum, group=force is not Force.ASK)

    def find(self, key: str) -> ProcessIdentity | None:
        """The process that a launch with this key started, if it can still be seen or is remembered."""
        with self._launches.hold(key) as lock:
            if lock is None:
                return self._earlier(key)
        return self._launches.remembered(key)

    def launch(self, spec: LaunchSpec) -> ProcessIdentity:
        """The process runs, detached in a session of its own, its output appended to ``spec.log``; the one that an
        earlier launch with the same key started, if that still runs.

        Raises:
            DriverError: it could not be started, or the earlier one holds its lock and cannot be found.
        """
        with self._launches.hold(spec.key) as lock:
            if lock is None:
                return self._earlier(spec.key)
            refuse_unmounted(spec)
            try:
                spec.log.parent.mkdir(parents=True, exist_ok=True)
                with spec.log.open("ab") as log:
                    child = subprocess.Popen(
                        spec.argv,
                        cwd=spec.cwd,
                        env=trainer_environment(
                            {**spec.env, KEY_VARIABLE: self._launches.mark(spec.key)}, self._launched_with(spec)
                        ),
                        stdin=subprocess.DEVNULL,
                        stdout=log,
                        stderr=subprocess.STDOUT,
                        start_new_session=True,
                        pass_fds=(lock,),
                    )
            except (OSError, ValueError) as error:
                raise DriverError(
                    "launch-failed",
                    f"{spec.argv[0]} could not be started in {spec.cwd}: {error}.",
                    "check that the run's Python and folder are still there",
                ) from error
            identity = self._identity(psutil.Process(child.pid))
            self._children[identity] = child
            self._launches.remember(spec.key, identity)
            return identity

    def _launched_with(self, spec: LaunchSpec) -> dict[str, str] | None:
        directory = spec.env.get(RUN_VARIABLE)
        return self.environments.recall(Path(directory)) if directory else None

    def survivors(self, process: ProcessIdentity) -> tuple[ProcessIdentity, ...]:
        """Living processes that belong to it, itself left out: its descendants, the session or group that it leads,
        and whatever carries its launch key. Empty on another host, since nothing is known there."""
        if self._elsewhere(process):
            return ()
        leader = self._find(process)
        replaced = leader is None and psutil.pid_exists(process.pid)
        found: dict[int, ProcessIdentity] = {}
        if leader is not None:
            self._collect(found, _children(leader))
        # A pid is not given out anew while a session or group of that number has members, so they are its own, unless
        # somebody else already has the number.
        if not replaced:
            self._collect(found, (p for p in psutil.process_iter() if _belongs(p.pid, process.pid)))
        key = self._launches.key_of(process)
        if key is not None:
            self._collect(found, _carriers(self._launches.mark(key)))
        found.pop(process.pid, None)
        return tuple(found[pid] for pid in sorted(found))

    def _collect(self, found: dict[int, ProcessIdentity], processes: Iterable[psutil.Process]) -> None:
        family = own_family()
        for candidate in processes:
            with suppress(psutil.Error):
                if candidate.pid not in family and candidate.pid not in found and not _is_over(candidate):
                    found[candidate.pid] = self._identity(candidate)

    def _send(self, process: ProcessIdentity, signum: int) -> bool:
        """Opens a pidfd first and compares then, so that the pid cannot change hands in between."""
        try:
            descriptor = os.pidfd_open(process.pid)
        except ProcessLookupError:
            return False
        except OSError as error:
            raise _refused(process.pid, error) from error
        try:
            if self._find(process) is None:
                return False
            signal.pidfd_send_signal(descriptor, signum)
        except ProcessLookupError:
            return False
        except PermissionError as error:
            raise _refused(process.pid, error) from error
        finally:
            os.close(descriptor)
        return True

    def _find(self, process: ProcessIdentity) -> psutil.Process | None:
        """The living process of that identity."""
        self._reap(process)
        try:
            found = psutil.Process(process.pid)
            return found if not _is_over(found) and self._same(process, found) else None
        except psutil.NoSuchProcess:
            return None
        except psutil.Error as error:
            raise _refused(process.pid, error) from error

    def _earlier(self, key: str) -> ProcessIdentity:
        deadline = time.monotonic() + _FIND_TIMEOUT_S
        while True:
            remembered = self._launches.remembered(key)
            if remembered is not None and self._find(remembered) is not None:
                return remembered
            leaders = [p for p in _carriers(self._launches.mark(key)) if _belongs(p.pid, p.pid)]
            if leaders:
                return self._identity(leaders[0])
            if time.monotonic() > deadline:
                raise DriverError(
                    "launch-unclear",
                    f"a process that launch {key} started still runs, but not as the leader of its session.",
                    f"look for it with: grep -lz {KEY_VARIABLE}={self._launches.mark(key)} /proc/[0-9]*/environ",
                )
            time.sleep(0.02)

    def _cpu_pct(self, process: ProcessIdentity, found: ProcStat) -> float | None:
        """Since the last look; None at the first one."""
        now = time.monotonic()
        before = self._meters.get(process)
        self._meters[process] = (now, found.cpu_s)
        if before is None or now <= before[0]:
            return None
        return 100 * (found.cpu_s - before[1]) / (now - before[0])

    def _reap(self, process: ProcessIdentity) -> tuple[int | None, int | None]:
        """Exit code and signal, when it was launched here and is over. Leaves no zombie of any launch."""
        for other in self._children.values():
            other.poll()
        child = self._children.get(process)
        code = child.returncode if child is not None else None
        if code is None:
            return None, None
        return (None, -code) if code < 0 else (code, None)

    def _identity(self, process: psutil.Process) -> ProcessIdentity:
        return ProcessIdentity(
            pid=process.pid, create_time=process.create_time(), host=self._host, boot_id=self._boot_id or None
        )

    def _same(self, process: ProcessIdentity, found: psutil.Process) -> bool:
        return process.create_time is not None and self._start_times.equal(process.create_time, found.create_time())

    def _is(self, process: ProcessIdentity, found: ProcStat) -> bool:
        if process.create_time is None:
            return False
        return self._start_times.is_start(process.create_time, found.started_s)

    def _elsewhere(self, process: ProcessIdentity) -> str:
        """Why this host cannot tell; empty when it can."""
        if process.host is not None and process.host != self._host:
            return f"runs on {process.host}, this is {self._host}"
        if process.create_time is None:
            return "is known without its start time, so a pid alone would have to do"
        return ""


def refuse_unmounted(spec: LaunchSpec) -> None:
    """The folder that the run's directory is, or was, in is there, if the log is to lie below it. It is never made: the
    disk that it belongs to may not be mounted, and what is written to its mount point is lost behind it.

    Raises:
        DriverError: it is not.
    """
    directory = spec.env.get(RUN_VARIABLE)
    if directory is None or not spec.log.is_relative_to(directory):
        return
    if not (parent := Path(directory).parent).is_dir():
        raise DriverError(
            "launch-failed", f"{parent}, where the run was, is not there.", "is its disk mounted? nothing was started"
        )


def _is_over(process: psutil.Process) -> bool:
    """Whether it is a zombie or dead, and no thread of it is held."""
    return process.status() in {psutil.STATUS_ZOMBIE, psutil.STATUS_DEAD} and process.num_threads() <= 1


def _ending(wait_status: int) -> tuple[int | None, int | None]:
    """Exit code or signal."""
    if os.WIFSIGNALED(wait_status):
        return None, os.WTERMSIG(wait_status)
    return os.waitstatus_to_exitcode(wait_status), None


def _children(process: psutil.Process) -> list[psutil.Process]:
    try:
        return list(process.children(recursive=True))
    except psutil.Error:
        return []


def _belongs(pid: int, leader: int) -> bool:
    """Whether ``pid`` is in the session or the process group that ``leader`` leads."""
    try:
        return leader in {os.getsid(pid), os.getpgid(pid)}
    except OSError:
        return False


def _carriers(mark: str) -> list[psutil.Process]:
    """Processes whose environment carries the mark of a launch, oldest first."""
    found = []
    for process in psutil.process_iter():
        with suppress(psutil.Error, OSError):
            if process.environ().get(KEY_VARIABLE) == mark:
                found.append(process)
    return sorted(found, key=lambda process: float(process.create_time()))


def _refused(pid: int, error: Exception) -> DriverError:
    return DriverError(
        "process-refused",
        f"the operating system refuses access to process {pid}: {error}.",
        "run the bot as the user that trains",
    )
