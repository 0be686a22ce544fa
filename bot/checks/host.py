"""The host: full disks, memory, swap, and GPUs that are hot, slowed, full or failing. One alert for all its runs."""

from __future__ import annotations

from trainmaster.bot.checks.limits import HostLimits
from trainmaster.bot.core.alerts.finding import Finding, Nature, Severity
from trainmaster.bot.core.check_name import CheckName
from trainmaster.bot.core.conversation.words import capitalized
from trainmaster.bot.core.health.host import DiskFact, GpuFact, HostFact, MemoryFact, gpu_text
from trainmaster.bot.core.health.no_run import HOST_RUN


def check_host(fact: HostFact, limits: HostLimits, now: float) -> tuple[Finding, ...]:
    """Everything wrong with the host at this look. What gave no answer is a finding too, and judges nothing."""
    return (
        *(one for disk in fact.disks for one in _disk(fact, disk, limits, now)),
        *_memory(fact, fact.memory, limits, now),
        *(one for gpu in fact.gpus for one in _gpu(fact, gpu, limits, now)),
        *_unseen(fact, now),
    )


def _condition(
    fact: HostFact,
    check: CheckName,
    key: str,
    now: float,
    title: str,
    *,
    severity: Severity = Severity.WARNING,
    body: tuple[str, ...],
    resolution: str,
    fields: tuple[tuple[str, str], ...] = (),
) -> Finding:
    return Finding(
        run=HOST_RUN,
        check=check,
        key=key,
        severity=severity,
        nature=Nature.CONDITION,
        ts=now,
        title=f"{fact.name}: {title}",
        body=body,
        fields=fields,
        hint="/train status",
        resolution=f"{fact.name}: {resolution}",
    )


def _disk(fact: HostFact, disk: DiskFact, limits: HostLimits, now: float) -> tuple[Finding, ...]:
    if disk.free_gib >= limits.disk_free_min_gib:
        return ()
    critical = disk.free_gib < limits.disk_free_critical_gib
    limit = limits.disk_free_critical_gib if critical else limits.disk_free_min_gib
    held = " and ".join(disk.holds)
    return (
        _condition(
            fact,
            CheckName.DISK_LOW,
            disk.place,
            now,
            f"{disk.free_gib:.1f} GiB free on the disk of {held} (limit {limit:g} GiB)",
            severity=Severity.CRITICAL if critical else Severity.WARNING,
            body=(
                "When it is full, checkpoints and records can no longer be written and training may end.",
                "Free some space: old runs, archives that nobody needs, caches.",
            ),
            fields=(("Place", disk.place), ("Free", f"{disk.free_gib:.1f} of {disk.total_gib:.1f} GiB")),
            resolution=f"the disk of {held} has room again",
        ),
    )


def _memory(fact: HostFact, memory: MemoryFact | None, limits: HostLimits, now: float) -> tuple[Finding, ...]:
    if memory is None:
        return ()
    found = []
    least_pct = limits.memory_available_min_pct
    if memory.available_pct < least_pct:
        found.append(
            _condition(
                fact,
                CheckName.MEMORY_LOW,
                "memory",
                now,
                f"{memory.available_pct:.1f} % of the memory is available (limit {least_pct:g} %)",
                body=(
                    "When it runs out the kernel kills the largest process, which is the training.",
                    "See what else runs there; at the next start use fewer workers= or no cache=ram.",
                ),
                fields=(("Available", f"{memory.available_gib:.1f} of {memory.total_gib:.1f} GiB"),),
                resolution="memory is available again",
            )
        )
    if memory.swap_in_mib_s is not None and memory.swap_in_mib_s > limits.swap_in_max_mib_s:
        found.append(
            _condition(
                fact,
                CheckName.SWAP_BUSY,
                "swap",
                now,
                f"{memory.swap_in_mib_s:.0f} MiB/s come back from swap (limit {limits.swap_in_max_mib_s:g} MiB/s)",
                body=(
                    "The host works on memory that it has not got, and everything on it is slow.",
                    "See what else runs there; at the next start use fewer workers= or no cache=ram.",
                ),
                fields=(("Swap", f"{memory.swap_used_gib:.1f} of {memory.swap_total_gib:.1f} GiB used"),),
                resolution="swap is quiet again",
            )
        )
    return tuple(found)


def _gpu(fact: HostFact, gpu: GpuFact, limits: HostLimits, now: float) -> tuple[Finding, ...]:
    return (
        *_gpu_errors(fact, gpu, now),
        *_xids(fact, gpu),
        *_gpu_heat(fact, gpu, limits, now),
        *_gpu_memory(fact, gpu, limits, now),
    )


def _gpu_errors(fact: HostFact, gpu: GpuFact, now: float) -> tuple[Finding, ...]:
    if gpu.lost:
        title = f"{gpu.key} ({gpu.name}) is {gpu.lost}"
        body = ("Nothing on it goes on. The host most likely has to be restarted.",)
    elif gpu.num_new_uncorrected:
        title = f"{gpu.key} ({gpu.name}) had {gpu.num_new_uncorrected} memory errors that could not be corrected"
        body = ("What it computed may be wrong. Stop the run, go back to a clean checkpoint, have the card looked at.",)
    elif gpu.num_uncorrected:
        title = f"{gpu.key} ({gpu.name}) counts {gpu.num_uncorrected} uncorrected memory errors since its driver loaded"
        body = ("They came before the bot was watching. Reset the card before the next long run.",)
    else:
        return ()
    return (
        _condition(
            fact,
            CheckName.GPU_ERRORS,
            gpu.key,
            now,
            title,
            severity=Severity.CRITICAL if gpu.lost or gpu.num_new_uncorrected else Severity.WARNING,
            body=body,
            fields=(("Card", gpu_text(gpu)),),
            resolution=f"{gpu.key} reports no errors",
        ),
    )


def _xids(fact: HostFact, gpu: GpuFact) -> tuple[Finding, ...]:
    return tuple(
        Finding(
            run=HOST_RUN,
            check=CheckName.GPU_ERRORS,
            key=f"{gpu.key}/xid{xid.code}/{xid.ts:.3f}",
            severity=Severity.CRITICAL if xid.is_of_hardware else Severity.WARNING,
            nature=Nature.OCCURRENCE,
            ts=xid.ts,
            title=f"{fact.name}: the driver of {gpu.key} ({gpu.name}) reported Xid {xid.code}",
            body=(
                "It is an error of the card itself: have it looked at before it spoils more."
                if xid.is_of_hardware
                else "Most often the program that used the card is at fault; the kernel's log says more (dmesg).",
            ),
            fields=(("Card", gpu_text(gpu)),),
            hint="/train status",
        )
        for xid in gpu.xids
    )


def _gpu_heat(fact: HostFact, gpu: GpuFact, limits: HostLimits, now: float) -> tuple[Finding, ...]:
    found = []
    limit_c = limits.gpu_hot_c
    if gpu.temperature_limit_c:
        limit_c = gpu.temperature_limit_c - limits.gpu_hot_margin_c
    if gpu.temperature_c is not None and gpu.temperature_c >= limit_c:
        found.append(
            _condition(
                fact,
                CheckName.GPU_HOT,
                gpu.key,
                now,
                f"{gpu.key} ({gpu.name}) is at {gpu.temperature_c:.0f} °C (limit {limit_c:.0f} °C)",
                body=("It slows itself down, and ends the run when it gets hotter. Look at its fans and the room.",),
                fields=(("Card", gpu_text(gpu)),),
                resolution=f"{gpu.key} is cool again",
            )
        )
    if gpu.slowed_by:
        found.append(
            _condition(
                fact,
                CheckName.GPU_THROTTLED,
                gpu.key,
                now,
                f"{gpu.key} ({gpu.name}) is slowed down by {' and '.join(gpu.slowed_by)}",
                body=("Epochs take longer than forecast. Look at cooling and power supply.",),
                fields=(("Card", gpu_text(gpu)),),
                resolution=f"{gpu.key} runs at its own speed again",
            )
        )
    return tuple(found)


def _gpu_memory(fact: HostFact, gpu: GpuFact, limits: HostLimits, now: float) -> tuple[Finding, ...]:
    if gpu.memory_used_gib is None or not gpu.memory_total_gib:
        return ()
    free_gib = gpu.memory_total_gib - gpu.memory_used_gib
    if free_gib >= limits.gpu_memory_free_min_gib:
        return ()
    return (
        _condition(
            fact,
            CheckName.GPU_MEMORY,
            gpu.key,
            now,
            f"{free_gib:.2f} GiB free on {gpu.key} ({gpu.name}) (limit {limits.gpu_memory_free_min_gib:g} GiB)",
            body=("The next larger batch may not fit, which ends the run. See whether something else uses the card.",),
            fields=(("Card", gpu_text(gpu)),),
            resolution=f"{gpu.key} has memory free again",
        ),
    )


def _unseen(fact: HostFact, now: float) -> tuple[Finding, ...]:
    return tuple(
        _condition(
            fact,
            CheckName.HOST_UNSEEN,
            one.what,
            now,
            f"{one.what} can't be looked at",
            body=(f"{capitalized(one.why)}. What it would show is not watched meanwhile.",),
            resolution=f"{one.what} can be looked at again",
        )
        for one in fact.unseen
    )
