"""Deaths of a training that somebody else tells: job systems, services, kernels, drivers, supervisors."""

from __future__ import annotations

from trainmaster.bot.reading.console.facts import CrashKind

_SLURM_STATES = "OUT_OF_MEMORY|TIMEOUT|NODE_FAIL|CANCELLED|PREEMPTED|BOOT_FAIL|DEADLINE"

DEATHS: tuple[tuple[CrashKind, tuple[str, ...], str], ...] = (
    (
        CrashKind.KILLED,
        (
            *("Kill", "kill", "CANCELLED", "LIMIT", "limit", "Terminated", "Signal ", "Out Of Memory"),
            *(
                "timeout: ",
                "signal: ",
                "Node failure",
                "canceled",
                "exceeded",
                "shutdown",
                "Job failed",
                "oom_reaper",
                "TERMINATED",
                "window-CLOSE",
            ),
        ),
        (
            r"[Oo]ut of memory: Kill(?:ed)? process \d+|\binvoked oom-killer: "
            r"|^slurmstepd(?:-\S+)?: error: .*(?:oom[-_ ]kill|CANCELLED|TIME LIMIT|STEPD TERMINATED"
            r"|[Ee]xceeded .*memory limit)"
            r"|^srun: error: .*: tasks? \S+: (?:Killed|Out Of Memory|Terminated)"
            r"|Main process exited, code=killed"
            r"|Signal \d+ \((?:SIGKILL|SIGTERM|SIGHUP)\) received by PID \d+"
            r"|^TERM_\w+: job killed |^=>> PBS: job killed: |\bOOMKilled\b(?!\"?\s*[:=]\s*\"?[Ff]alse)"
            r"|\boom_reaper: reaped process \d+|\bContainer killed by YARN\b"
            r"|\bis running beyond (?:physical|virtual) memory limits\b"
            r"|\bKilled \S+ due to memory (?:used|pressure)|\bsystemd-oomd killed \d+ process"
            r"|\b(?:[Pp]rocess|[Cc]ontainer|[Jj]ob|[Tt]ask)\b.{0,60} killed by (?:the )?(?:kernel )?OOM[- ]killer\b"
            r"|\bkilled due to memory pressure \(OOM\)|^Container '[^']{1,80}' exceeded memory limit"
            r"|^(?:Ultralytics HUB: )?Kill signal received! ❌"
            # timeout of coreutils, in the reader's language; what is written in Go; systemd
            r"|^(?:\S*/)?g?timeout: .*\b(?:TERM|KILL|HUP|INT|QUIT)\b|\bsignal: (?:killed|terminated|hangup)\W*$"
            r"|: Killing process \d+ \(.{1,64}\) with signal SIG(?:KILL|TERM)\b|: State '[\w-]+' timed out\. Killing\."
            r"|^srun: error: Node failure on |^job \d+(?:\.\d+)? exceeded \w+ wallclock time"
            r"|^Job has gone over (?:cgroup )?memory limit|: program aborting due to window-CLOSE event"
            r"|^ERROR: Job failed(?: \(system failure\)|: (?:canceled|execution took longer))"
            r"|^(?:##\[error\]|Error: )?(?:The operation was canceled\.$|The runner has received a shutdown signal"
            r"|The job running on runner .* has exceeded the maximum)"
        ),
    ),
    (
        CrashKind.KILLED,
        # other job systems
        (
            "salloc: ",
            "Job was ",
            "job.exception",
            "flux-job: ",
            "[OAR ",
            "SIGTERM to the ",
            "SIGKILL to the ",
            "oom-kill:",
        ),
        (
            r"^salloc: Job allocation \d+ has been revoked"
            r"|^0\d\d \(\d+\.\d+\.\d+\) .{1,40} Job was (?:evicted|aborted|held)"
            r"|\bjob\.exception type=(?:timeout|cancel|node-failure|preempt)\b"
            r"|^flux-job: task\(s\) (?:Killed|Terminated|Hangup)|^## \[OAR [^\]]*\] Job \d+ KILLED"
            r"|\b[Ss]ending SIG(?:TERM|KILL) to the victim\b|\boom-kill:constraint="
        ),
    ),
    (
        CrashKind.KILLED,
        # what runs containers and builds
        (
            *(
                "low on resource",
                "DiskPressure",
                "MemoryPressure",
                "ephemeral",
                "EmptyDir",
                "Preempted ",
                "Timeout waiting",
                "longer than",
                "node shutdown",
            ),
            *("Finished: ABORTED", "no output (", "code=null", "by a signal: ", "Stopping container", "Eviction: "),
        ),
        (
            r"^(?:Message: +)?(?:The node had condition: "
            r"|Pod ephemeral local storage usage exceeds |Container \S+ exceeded its local ephemeral storage"
            r"|Usage of EmptyDir volume |Preempted in order to admit )"
            # as an event, with a time and an object before it
            r"|\bThe node was low on resource: \w|\bPod was terminated in response to imminent node shutdown"
            r"|\b(?:Pod|Job) was active .{0,12}longer than (?:the )?specified deadline"
            r"|^\[Nb(?:Convert|Client)App\] ERROR \| Timeout waiting for execute reply|^Finished: ABORTED$"
            r"|^Too long with no output \(exceeded |^\[Done\] exited with code=null "
            r"|The command was interrupted by a signal: (?:killed|terminated)"
            r"|\bpod/\S+\s+Stopping container \S+$|\bTaintManagerEviction: Marking for deletion Pod \S"
        ),
    ),
    (
        CrashKind.KILLED,
        # runners of builds that nobody hears from any more, and machines that a cloud took back
        (
            *(
                "lost communication",
                "stopped hearing",
                "maximum time of",
                "Spot Task",
                "Host EC2",
                "Essential container",
            ),
            *("MaxRuntimeExceeded", "attempt duration", "preempted", "PreemptionError"),
        ),
        (
            r"^(?:##\[error\]|Error: )?(?:The (?:self-hosted |hosted )?(?:runner|agent)\b.{0,80} lost communication"
            r" with the server\b|We stopped hearing from agent "
            r"|The job running on agent .{1,80} ran longer than the maximum time of )"
            r"|\bYour Spot Task was interrupted\b|\bHost EC2 \(instance \S+\) terminated\b"
            r"|\bcontroller\.py:\d+\] (?:The c|C)luster is preempted\b|^AzureMLCompute job failed\. PreemptionError: "
            r"|^Essential container in task exited$|\bMaxRuntimeExceeded\b|^Job attempt duration exceeded timeout$"
        ),
    ),
    (
        CrashKind.KILLED,
        # what is told afterwards: seff, scontrol and the mail of Slurm, kubectl, systemd-run, a notebook's host
        (
            *("State: ", "JobState=", "Slurm Job_id", "Reason:", "Evicted", "DeadlineExceeded", "Finished with result"),
            *("processes terminated with", "Watchdog timeout (", "max allowed execution", "Termination Reason"),
        ),
        (
            rf"^State: (?:{_SLURM_STATES})\b.*\(exit code \d+\)|\bJobState=(?:{_SLURM_STATES})\b"
            rf"|^Slurm Job_id=\d+ Name=.{{1,200}}, Run time [\d:-]+, (?:{_SLURM_STATES})\b"
            r"|^Reason: +(?:Evicted|DeadlineExceeded|Preempting|NodeLost|NodeShutdown|Shutdown)$"
            r"|^[\w.-]+ +\d+/\d+ +(?:Evicted|DeadlineExceeded) +\d+ "
            r"|^Finished with result: (?:oom-kill|signal|timeout|watchdog)$"
            r"|^Main processes terminated with: code=killed|\.service: Watchdog timeout \(limit "
            r"|^Your notebook was stopped because it exceeded the max allowed execution duration"
            r"|^Termination Reason: +Namespace SIGNAL, Code (?:9|15) "
        ),
    ),
    (
        CrashKind.KILLED,
        ("death signal",),
        r"\bReceived (?:1|15) death signal, shutting down workers",
    ),
    (
        CrashKind.KILLED,
        # the machine went down
        ("-- Reboot", "-- Boot", "The system ", "Linux version", "Kernel panic", "Subsystem for Linux"),
        (
            r"^-- (?:Reboot|Boot [0-9a-f]{32}) --$"
            r"|\bKernel panic - not syncing: |^The Windows Subsystem for Linux instance has terminated"
            r"|^The system (?:is going down for \S+ NOW|will (?:reboot|power ?off|halt) now)!"
            r"|^(?:\[ +0\.000000\]|\S+ kernel:|kernel:)(?: \[ +0\.000000\])? Linux version \d"
        ),
    ),
    (
        CrashKind.EXCEPTION,
        (
            "fault",
            "Bus error",
            "Abort",
            "SIG",
            "code=dumped",
            "ernel",
            "カーネル",
            "Java Runtime",
            "traps: ",
            "dumped core",
            "execute_request",
        ),
        (
            r"\w\[\d+\]: segfault at [0-9a-f]+ ip |\btraps: .{1,64}\[\d+\] (?:general protection|trap )"
            r"|^srun: error: .*: tasks? \S+: (?:Segmentation fault|Bus error|Aborted)"
            r"|Signal \d+ \((?:SIGSEGV|SIGABRT|SIGBUS|SIGFPE|SIGILL)\) received by PID \d+"
            r"|Main process exited, code=dumped|^(?:\S*/)?g?timeout: the monitored command dumped core"
            r"|^(?:Error: )?Canceled future for execute_request message before replies were done"
            r"|^# A fatal error has been detected by the Java Runtime|^#\s+SIG[A-Z]+ \(0x[0-9a-f]+\) at pc="
            r"|^\[Nb(?:Convert|Client)App\] ERROR \| Kernel died|KernelRestarter: restarting kernel \("
            r"|^(?:The )?[Kk]ernel (?:for \S+ )?(?:appears to have )?died|^The Kernel crashed while executing"
            r"|^Fatal error: The Python kernel is unresponsive"
            # an editor tells it in the reader's language
            r"|\b[Kk]ernel\b.{0,120}(?:abgestürzt|崩溃|損毀|當機|クラッシュ|se bloqueó|s.est bloqué|arresto anomalo"
            r"|falhou ao executar|аварийно завершил|중단되었습니다|uległo awarii)|カーネル.{0,40}クラッシュ"
        ),
    ),
    (
        CrashKind.EXCEPTION,
        # crash reports of macOS and Windows, MPI
        ("Exception Type", "Faulting application", "for an unknown reason", "PMPI_", "MPI_ABORT"),
        (
            r"^Exception Type: +EXC_\w+ \(SIG[A-Z]+\)|^Faulting application name: python"
            r"|^Your session crashed for an unknown reason|^Fatal error in PMPI_\w+: "
            r"|^MPI_ABORT was invoked on rank \d+"
        ),
    ),
    (
        CrashKind.OOM,
        ("crashed after using all available RAM", "tried to allocate more memory than is available", "Cuda failure"),
        (
            r"^Your (?:session|notebook) (?:crashed after using all available RAM|tried to allocate more memory)"
            r"|^Cuda failure (?:\d+ )?'out of memory'"  # below the words of NCCL
        ),
    ),
    (
        CrashKind.CUDA_ERROR,
        ("by GPU node-", "borting with error", "HSA_STATUS_ERROR", "Xid", "fallen off the bus"),
        # ROCm, which aborts, and the driver of NVIDIA in the log of the machine
        (
            r"^(?:Memory access fault by GPU node-\d+|HW Exception by GPU node-\d+)"
            r"|\bQueue \S+ [Aa]borting with error ?: |\bHSA_STATUS_ERROR\w*: |\bNVRM: Xid |\bGPU has fallen off the bus"
        ),
    ),
    (
        CrashKind.DATALOADER,
        ("encountered in worker",),
        r"^ERROR: Unexpected (?:bus error|segmentation fault|floating-point exception) encountered in worker\.",
    ),
    (
        CrashKind.NCCL,
        ("WorkNCCL", "NCCL operations", "inconsistency", "heartbeat of its watchdog", "Heartbeat monitor"),
        (
            r"First PG on this rank that detected no heartbeat of its watchdog|\bHeartbeat monitor timed out!"
            r"|Watchdog caught collective operation timeout: WorkNCCL|\bWorkNCCL\(.{1,300}\btimed out in blocking wait"
            r"|\bSome NCCL operations have failed or timed out"
            r"|\bTo avoid data inconsistency, we are taking the entire process down"
        ),
    ),
)
"""A pattern is tried where one of its words occurs: most lines have none, and most patterns stay uncompiled."""
REPEATS: tuple[tuple[CrashKind, tuple[str, ...], str], ...] = (
    (
        CrashKind.KILLED,
        ("Failed with result", "worker", "node", "srun: "),
        (
            r"^srun: (?:Job step aborted: |Force Terminated |[Ff]orcing job termination)"
            r"|: Failed with result '(?:oom-kill|signal|timeout|watchdog)'"
            r"|\bA worker died or was killed while executing a task\b"
            r"|\b(?:actor|task|worker) (?:is dead|failed|died) because its (?:worker process|node) has died\b"
        ),
    ),
    (
        CrashKind.EXCEPTION,
        (
            "Failed with result",
            "FATAL state",
            "See above",
            "one or more processes",
            "app crashed",
            "Finished: ",
            "as failure",
            "=== Run ",
            "State: FAILED",
            "JobState=FAILED",
            "Finished with result",
            "backoff limit",
            "one of the commands exited",
            "sigkill_handler",
            "W&B process",
            "AzureMLCompute",
            "Job finished",
        ),
        (
            r": Failed with result '(?:exit-code|core-dump|resources|protocol)'|\bgave up: \S+ entered FATAL state\b"
            r"|`conda run .{1,300}` failed\. \(See above for error\)|^\[nodemon\] app crashed"
            r"|=== Run \(ID '[^']{1,80}'\) failed ===$"
            r"|^State: FAILED \(exit code |\bJobState=FAILED\b|^Finished with result: (?:exit-code|core-dump)$"
            r"|\bJob has reached the specified backoff limit$|^\(one of the commands exited with non-zero exit code; "
            r"|\bsigkill_handler\] Killing subprocess \d+$"
            r"|^wandb: Waiting for W&B process to finish\.\.\. \(failed \d+\)"
            r"|^AzureMLCompute job failed\b|\bJob finished \(status: FAILED\w*\)"
            r"|^Finished: FAILURE$|^Build step '[^']{1,80}' marked build as failure"
            r"|^(?:mpirun|mpiexec|prterun) detected that one or more processes exited with non-zero status"
        ),
    ),
)
"""What a supervisor says of a process that another line has told the cause of, as a rule."""
