"""What job systems, cloud services, supervisors and other makers' cards write, by what it means; beside ``endings``."""

from __future__ import annotations

from tests.unit.bot.reading.scan import endings

_SAID = {
    "killed": (
        "ExitCode -9",
        "exit_codes: -9",
        "Exit_status = 271",
        '            "OOMKilled": true,',
        "ERROR YarnScheduler: Lost executor 1 on gpu1: Container killed by YARN for exceeding limits.",
        "Container [pid=4711,containerID=c1] is running beyond physical memory limits. Killing container.",
        "2026-03-05T01:02:03.123456789+01:00 container die ab12 (exitCode=137, image=train:1, name=trainer)",
        "[12345.678901] oom_reaper: reaped process 4711 (python), now anon-rss:0kB",
        "Process finished with returncode=-9",
        "EXIT_CODE=137",
        "train.sh: line 3:  4711 CPU time limit exceeded python train.py",
        "Job exit value: 137",
        "Exited with signal termination: 9.",
        "Exited with signal termination: Killed.",
        "job 123456.1 exceeded hard wallclock time (h_rt) limit - sending KILL signal",
        "(1) Normal termination (return value 137)",
        "Job has gone over cgroup memory limit of 8192 megabytes. Last measured usage: 8190 megabytes.",
        "PM2        | App [train:0] exited with code [0] via signal [SIGKILL]",
        "The replica workerpool0-0 exited with a non-zero status of 137(SIGKILL).",
        "Process `train` terminated with an error exit status (137)",
        'Script done on 2026-03-05 01:02:03+01:00 [COMMAND_EXIT_CODE="137"]',
        "2m   Warning   Evicted   pod/train-0   The node was low on resource: memory. Threshold quantity: 100Mi",
        "Message:  Pod was active on the node longer than the specified deadline",
        "Job was active longer than specified deadline",
        "Message:  Pod was terminated in response to imminent node shutdown.",
        "[12345.678901] Kernel panic - not syncing: Fatal exception in interrupt",
        "The Windows Subsystem for Linux instance has terminated.",
        "Exit Code:    143",
    ),
    "exception": (
        "ExitCode 1",
        "[12345.678901] python[4711]: segfault at 0 ip 00007f12 sp 00007f34 error 4 in libtorch_cpu.so[7f12+1000]",
        "[12345.678901] traps: python[4711] general protection fault ip:7f12 sp:7f34 error:0 in libc.so.6[7f12+1000]",
        "./train.sh: line 3: 4711: Memory fault(coredump)",
        "./train.sh: riga 3:  4711 Errore di segmentazione (core dump creato) python train.py",
        "./train.sh: line 3:  4711 Floating point exception(core dumped) python train.py",
        "./train.sh: 3. sor:  4711 Szegmens                python train.py",
        "[2026-03-05 01:02:03,124] [ERROR] [launch.py:325] ['python', 'train.py'] exits with return code = 1",
        "[2026-03-05T01:02:03.123+0000] {subprocess.py:97} INFO - Command exited with return code 1",
        "The replica workerpool0-0 exited with a non-zero status of 1. To find out more, see the logs",
        "(1) Normal termination (return value 1)",
        "PM2        | App [train:0] exited with code [1] via signal [SIGINT]",
        "2026-03-05T01:02:03: PM2 log: App [train:0] exited with code [0] via signal [SIGSEGV]",
        'Script done on 2026-03-05 01:02:03+01:00 [COMMAND_EXIT_CODE="1"]',
        "signal 11 (Segmentation fault).",
        "mpirun detected that one or more processes exited with non-zero status, thus causing",
        "ERROR conda.cli.main_run:execute(125): `conda run python train.py` failed. (See above for error)",
        "[nodemon] app crashed - waiting for file changes before starting...",
        "Exit Code:    1",
        "[process exited with code 1 (0x00000001)]",
        "[Prozess beendet mit Code 3221225477 (0xc0000005)]",
        "[进程已退出，代码为 1 (0x00000001)]",
        "Program C:\\Python311\\python.exe for service train exited with return code 1.",
        "2026/03/05 01:02:03 ERROR mlflow.cli: === Run (ID 'ab12') failed ===",
        "^\\Quit (core dumped)",
    ),
}
_RAISED = {
    "oom": (
        "RuntimeError: Native API failed. Native API returns: -5 (PI_ERROR_OUT_OF_RESOURCES)",
        "RuntimeError: level_zero backend failed with error: 39 (UR_RESULT_ERROR_OUT_OF_DEVICE_MEMORY)",
        "RuntimeError: UR error: 38 (UR_RESULT_ERROR_OUT_OF_HOST_MEMORY)",
        "RuntimeError: Could not allocate tensor with 16 bytes. There is not enough GPU video memory available!",
    ),
    "exception": ("triton.runtime.errors.OutOfResources: out of resource: shared memory, Required: 1",),
    "nccl": (
        "RuntimeError: [../third_party/gloo/gloo/transport/tcp/pair.cc:534] Connection closed by peer [127.0.0.1]:12",
        "RuntimeError: Rank 1 failed to pass monitoredBarrier in 1800000 ms",
    ),
    "cuda_error": (
        "RuntimeError: cuDNN Frontend error: [cudnn_frontend] Error: No valid execution plans built.",
        'RuntimeError: NVML_SUCCESS == r INTERNAL ASSERT FAILED at "../c10/cuda/CUDACachingAllocator.cpp":838',
        "RuntimeError: GET was unable to find an engine to execute this computation",
        "RuntimeError: level_zero backend failed with error: 20 (UR_RESULT_ERROR_DEVICE_LOST)",
    ),
}
_QUIET = (
    "PM2        | App [train:0] exited with code [0] via signal [SIGINT]",
    'Script done on 2026-03-05 01:02:03+01:00 [COMMAND_EXIT_CODE="0"]',
    "Exit_status = 0",
    '            "OOMKilled": false,',
    "2026-03-05T01:02:03.123456789+01:00 container die ab12 (exitCode=0, image=train:1, name=trainer)",
    "Memory fault counters: 0",
    "data.yaml: 3:  4711 Floating point exceptions were caught by design",
    "(1) Normal termination (return value 0)",
    "Command exited with return code 0",
    "signal 9 (bars)",
    "failed to create fsnotify watcher: too many open files",
    "Exit Code:    0",
    "Exit Code: 1",
    "[process exited with code 0 (0x00000000)]",
    "[module loaded at 1 (0x00000001)] twice",
    "Program python for service train exited with return code 0.",
    "2026/03/05 01:02:03 INFO mlflow.projects: === Run (ID 'ab12') succeeded ===",
    "the job ran longer than the specified deadline",
)
SAID = [(kind, said) for table in (endings.SAID, _SAID) for kind, lines in table.items() for said in lines]
"""Lines that tell of an end, each with its kind."""
RAISED = [(kind, error) for table in (endings.RAISED, _RAISED) for kind, errors in table.items() for error in errors]
"""Exceptions, each with its kind."""
QUIET = (*endings.QUIET, *_QUIET)
"""Lines that only look like an end."""
