"""Output of Slurm 22.05.8, recorded on a real cluster of three nodes with the formats of :mod:`rows`."""

from __future__ import annotations

from collections.abc import Sequence

from trainmaster.bot.drivers.slurm.rows import FIELD_END, ROW_END

HEADING = "¦".join(
    (
        *("JOBID", "STATE", "REASON", "RESTART_COUNT", "SUBMIT_TIME", "START_TIME", "END_TIME", "PREEMPT_TIME"),
        *("TIME_LIMIT", "EXIT_CODE", "ARRAY_JOB_ID", "ARRAY_TASK_ID"),
        *("PARTITION", "NODELIST", "CLUSTER", "NAME", "COMMENT"),
    )
)


def queue_text(*rows: str) -> str:
    """Rows as recorded below their heading, with bars for what really ends a field. One that does not name its array
    is a job of its own: the array's number is its own then, and the task's is none."""
    return "".join(_whole(row).replace("¦", FIELD_END) + f"{ROW_END}\n" for row in (HEADING, *rows))


def as_asked(argv: Sequence[str], text: str) -> str:
    """``text`` of :func:`queue_text` with the word that the question wants behind what ends a field."""
    word = argv[-1].rpartition(ROW_END)[2] if argv[-1].startswith("--Format=") else ""
    return text.replace(FIELD_END, FIELD_END + word).replace(ROW_END, ROW_END + word)


def _whole(row: str) -> str:
    fields = row.split("¦")
    return "¦".join(fields if len(fields) != 15 else [*fields[:10], fields[0], "N/A", *fields[10:]])


RUNNING = "1¦RUNNING¦None¦0¦1795891219¦1795891220¦1795891820¦N/A¦10:00¦0¦main¦n1¦lab¦tm-run a,b¦trainmaster op-1|x"
FIRST_WAIT = "5¦PENDING¦Resources¦0¦1795891443¦1795891449¦1796496249¦N/A¦7-00:00:00¦0¦main¦¦lab¦tm-abc¦trainmaster op-2"
NO_ESTIMATE = "8¦PENDING¦JobHeldUser¦0¦1795891219¦N/A¦N/A¦N/A¦7-00:00:00¦0¦main¦¦lab¦job.sh¦(null)"
COMMA = "9¦PENDING¦ReqNodeNotAvail, UnavailableNodes:n3¦0¦1795891219¦N/A¦N/A¦N/A¦7-00:00:00¦0¦main¦¦lab¦job.sh¦(null)"
REQUEUED = "6¦PENDING¦BeginTime¦1¦1795891435¦1795891556¦1796496356¦N/A¦7-00:00:00¦0¦main¦¦lab¦tm-abc¦trainmaster op-2"
PREEMPTED_SOON = (
    "7¦RUNNING¦None¦0¦1795891441¦1795891441¦1795891464¦1795891444¦1:00:00¦0¦scavenge¦n1¦lab¦tm-abc¦trainmaster op-2"
)
SUSPENDED = "7¦SUSPENDED¦None¦0¦1795891441¦1795891441¦1795891464¦N/A¦7-00:00:00¦0¦main¦n1¦lab¦tm-abc¦trainmaster op-2"
STOPPED = (
    "11¦FAILED¦NonZeroExitCode¦0¦1795891390¦1795891390¦1795891392¦N/A¦1:00:00¦768¦main¦n1¦lab¦tm-abc¦trainmaster op-2"
)
KILLED = (
    "12¦FAILED¦JobLaunchFailure¦0¦1795891415¦1795891415¦1795891417¦N/A¦1:00:00¦9¦main¦n1¦lab¦tm-abc¦trainmaster op-2"
)
CANCELLED_WAITING = (
    "13¦CANCELLED¦None¦0¦1795891415¦1795891417¦1795891417¦N/A¦1:00:00¦0¦main¦¦lab¦tm-abc¦trainmaster op-2"
)
COMPLETED = "14¦COMPLETED¦None¦0¦1795891415¦1795891415¦1795891417¦N/A¦1:00:00¦0¦main¦n2¦lab¦tm-abc¦trainmaster op-2"
TASK = "7¦RUNNING¦None¦0¦1795891219¦1795891220¦1795891820¦N/A¦10:00¦0¦7¦3¦main¦n1¦lab¦job.sh¦(null)"
"""An array's last task, whose number is the array's."""

MEMORY = """\
1|FAILED|3:0|1795891609|1795891612|1795891612|1-00:00:00|main|n1|tm-abc
1.batch|FAILED|3:0|1795891612|1795891612|1795891612|||n1|batch
2|CANCELLED by 0|0:0|1795891609|1795891612|1795891612|1-00:00:00|main|n1|term.sh
2.batch|FAILED|3:0|1795891612|1795891612|1795891612|||n1|batch
3|COMPLETED|0:0|1795891609|1795891612|1795891613|1-00:00:00|main|n1|wrap
3.batch|COMPLETED|0:0|1795891612|1795891612|1795891613|||n1|batch
4|FAILED|0:9|1795891609|1795891612|1795891612|1-00:00:00|main|n1|a|name
4.batch|CANCELLED|0:9|1795891612|1795891612|1795891612|||n1|batch
5|REQUEUED|0:0|1795891609|1795891612|1795891612|1-00:00:00|main|n2|term.sh
5.batch|CANCELLED|0:15|1795891612|1795891612|1795891612|||n2|batch
5|PENDING|0:0|1795891613|Unknown|Unknown|1-00:00:00|main|None assigned|term.sh
"""

CONFIG = """\
Configuration data as of 1795891219
AccountingStorageType   = accounting_storage/none
ClusterName             = lab
JobRequeue              = 1
KillWait                = 30 sec
MinJobAge               = 300 sec
PrivateData             = none
SLURM_VERSION           = 22.05.8

Slurmctld(primary) at vm is UP
"""
