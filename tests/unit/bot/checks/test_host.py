"""Every check of the host fires on its fault and stays quiet on a healthy one."""

from __future__ import annotations

from dataclasses import replace

import pytest

from trainmaster.bot.checks.host import check_host
from trainmaster.bot.checks.limits import HostLimits
from trainmaster.bot.core.alerts.finding import Nature, Severity
from trainmaster.bot.core.health.host import DiskFact, GpuFact, HostFact, MemoryFact, Unseen, XidFact, host_text

LIMITS = HostLimits()
NOW = 1_760_000_000.0
DISK = DiskFact(place="/data", holds=("RUNS_DIR", "STATE_DIR"), free_gib=50.0, total_gib=500.0)
MEMORY = MemoryFact(
    total_gib=64.0, available_gib=40.0, swap_total_gib=8.0, swap_used_gib=7.5, swap_in_mib_s=0.0
)  # much lies in swap and stays there: no fault
GPU = GpuFact(
    key="GPU 0",
    name="Some Card",
    memory_used_gib=20.0,
    memory_total_gib=24.0,
    busy_pct=99.0,
    temperature_c=80.0,
    temperature_limit_c=90.0,
    power_w=300.0,
    num_uncorrected=0,
)
HEALTHY = HostFact(ts=NOW, name="gpu1", disks=(DISK,), memory=MEMORY, gpus=(GPU,))


def _with_gpu(**changes: object) -> HostFact:
    return replace(HEALTHY, gpus=(replace(GPU, **changes),))


def _with_memory(**changes: object) -> HostFact:
    return replace(HEALTHY, memory=replace(MEMORY, **changes))


def _with_disk(free_gib: float) -> HostFact:
    return replace(HEALTHY, disks=(replace(DISK, free_gib=free_gib),))


@pytest.mark.parametrize(
    ("fact", "check", "severity", "words"),
    [
        pytest.param(_with_disk(9.9), "disk_low", Severity.WARNING, "9.9 GiB free", id="disk low"),
        pytest.param(_with_disk(1.9), "disk_low", Severity.CRITICAL, "limit 2 GiB", id="disk nearly full"),
        pytest.param(_with_memory(available_gib=2.5), "memory_low", Severity.WARNING, "limit 4 %", id="memory"),
        pytest.param(_with_memory(swap_in_mib_s=21.0), "swap_busy", Severity.WARNING, "21 MiB/s", id="swap busy"),
        pytest.param(_with_gpu(temperature_c=87.0), "gpu_hot", Severity.WARNING, "limit 87 °C", id="own limit"),
        pytest.param(
            _with_gpu(temperature_c=90.0, temperature_limit_c=None), "gpu_hot", Severity.WARNING, "90 °C", id="no limit"
        ),
        pytest.param(_with_gpu(slowed_by=("heat",)), "gpu_throttled", Severity.WARNING, "by heat", id="slowed"),
        pytest.param(_with_gpu(memory_used_gib=23.9), "gpu_memory", Severity.WARNING, "0.10 GiB free", id="full card"),
        pytest.param(_with_gpu(num_uncorrected=2), "gpu_errors", Severity.WARNING, "counts 2", id="old errors"),
        pytest.param(
            _with_gpu(num_uncorrected=3, num_new_uncorrected=1), "gpu_errors", Severity.CRITICAL, "had 1", id="new ones"
        ),
        pytest.param(_with_gpu(lost="lost from its bus"), "gpu_errors", Severity.CRITICAL, "is lost", id="lost"),
    ],
)
def test_a_fault_of_the_host_is_a_condition(fact: HostFact, check: str, severity: Severity, words: str) -> None:
    (found,) = check_host(fact, LIMITS, NOW)
    assert (found.check, found.severity, found.nature) == (check, severity, Nature.CONDITION)
    assert found.run == "host"
    assert words in found.title
    assert found.resolution.startswith("gpu1: ")


@pytest.mark.parametrize(
    "fact",
    [
        pytest.param(HEALTHY, id="healthy"),
        pytest.param(_with_disk(10.0), id="disk at its limit"),
        pytest.param(_with_memory(swap_in_mib_s=None), id="first look at swap"),
        pytest.param(_with_memory(available_gib=2.56), id="memory at its limit"),
        pytest.param(_with_gpu(temperature_c=86.9), id="warm"),
        pytest.param(_with_gpu(temperature_c=89.9, temperature_limit_c=None), id="warm, without a limit of its own"),
        pytest.param(_with_gpu(memory_used_gib=23.7), id="a card filled by the caching allocator"),
        pytest.param(replace(HEALTHY, gpus=(GpuFact(key="GPU 0", name="mute"),)), id="a card that tells nothing"),
        pytest.param(HostFact(ts=NOW, name="gpu1"), id="nothing known"),
    ],
)
def test_a_healthy_host_has_no_findings(fact: HostFact) -> None:
    assert check_host(fact, LIMITS, NOW) == ()


@pytest.mark.parametrize(
    ("code", "severity"),
    [
        pytest.param(79, Severity.CRITICAL, id="fallen off the bus"),
        pytest.param(136, Severity.CRITICAL, id="the start gate's list holds it too"),
        pytest.param(31, Severity.WARNING, id="the program's own page fault"),
    ],
)
def test_each_xid_is_told_once(code: int, severity: Severity) -> None:
    xids = (XidFact(ts=NOW, code=code), XidFact(ts=NOW + 5, code=code))
    found = check_host(_with_gpu(xids=xids), LIMITS, NOW)
    assert [one.nature for one in found] == [Nature.OCCURRENCE] * 2
    assert len({one.fingerprint for one in found}) == 2
    assert found[0].severity is severity
    assert f"Xid {code}" in found[0].title


def test_a_part_that_gives_no_answer_is_told() -> None:
    unseen = Unseen(what="NVIDIA GPUs", why="no answer within 5 s", checks=frozenset({"gpu_hot"}))
    (found,) = check_host(replace(HEALTHY, gpus=(), unseen=(unseen,)), LIMITS, NOW)
    assert found.check == "host_unseen"
    assert "No answer within 5 s" in found.body[0]


@pytest.mark.parametrize(
    ("fact", "words"),
    [
        pytest.param(HEALTHY, "GPU 0 Some Card: 80 °C, 20.0 of 24.0 GiB, 99 % busy, 300 W", id="card"),
        pytest.param(HEALTHY, "memory 40.0 of 64.0 GiB free · disk of RUNS_DIR and STATE_DIR 50.0 GiB", id="memory"),
        pytest.param(replace(HEALTHY, gpus=()), "GPU: none visible", id="no card"),
        pytest.param(_with_gpu(lost="lost from its bus"), "GPU 0 Some Card: lost from its bus", id="lost"),
    ],
)
def test_the_host_fits_in_a_line(fact: HostFact, words: str) -> None:
    assert words in host_text(fact)


def test_a_card_that_gives_no_answer_is_not_called_absent() -> None:
    unseen = (Unseen(what="NVIDIA GPUs", why="", checks=frozenset()),)
    text = host_text(replace(HEALTHY, gpus=(), unseen=unseen))
    assert "none visible" not in text
    assert text.endswith("NVIDIA GPUs: no answer")
