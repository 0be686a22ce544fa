"""Exit codes as shells, editors and launchers tell them, in any language."""

from __future__ import annotations

import re
from typing import Final

from trainmaster.bot.reading.console.patterns import any_in
from trainmaster.bot.reading.console.shells import SIGNAL_NAMES, job_exit_code

_NUMBER: Final = r"(-?\d{1,10})(?: ?\(0x([0-9A-Fa-f]{1,8})\))?"
_INTERRUPTED: Final = _NUMBER + r" ?\(interrupted by signal \d+: ?SIG[A-Z]+\)"
"""PyCharm and its kin keep this in English whatever the sentence around it is in."""
_WORDS: Final = (
    r"exit[- ]?code|ExitCode|Exit-Code|Exitcode|退出代码|退出码|退出代碼|結束代碼|終了コード|종료 코드|code de sortie"
    r"|código de salida"
    r"|código de saída|codice di uscita|codice uscita|кодом выхода|код выхода|кодом завершения|kodem wyjścia"
    r"|kod wyjścia"
    r"|çıkış kodu|afsluitcode|slutkod|avslutskod"
)
_EDITOR: Final = (
    r"^(?:Process|Prozess|Processus|Le processus|El proceso|Proceso|Processo|Il processo|Процесс|Proces"
    r"|Processen|İşlem"
    rf"|进程|程序|行程|プロセス|종료|프로세스).*?(?:{_WORDS})\D{{0,12}}?{_NUMBER}"
)
_CODE_FIRST: Final = rf"^(?:{_WORDS}) {_NUMBER}"
_LAUNCHERS: Final = (
    r"(?:^\S*srun: error: .* Exited with exit code"
    r"|\bfailed \(exitcode:|^exitcode\s*:|Command exited with (?:non-zero )?status"
    r"|^command terminated with exit code|^\S+ exited with code"
    r"|^(?:##\[error\]|Error: )?Process completed with exit code|^##\[error\]\w+ exited with code '?"
    r"|^(?:🚨 )?Error: The command exited with status|^Exited with code exit status|^script returned exit code"
    r'|^The command "[^"]{1,200}" exited with|\bexited: \S+ \(exit status(?= -?\d+; not expected\))'
    r"|^Execution failed\. User process '[^']*' exited with status code|^flux-job: task\(s\) exited with exit code"
    r"|^Exited with exit code|^\[Done\] exited with code=|^The program '[^']*' has exited with code"
    r"|: Main process exited, code=exited, status="
    # nssm, kubectl describe, Windows Terminal in any language
    r"|^Program \S.{0,200} for service \S+ exited with return code|^Exit Code: {2}"
    rf"|^\[\D{{3,60}} ?(?=-?\d{{1,10}} \(0x[0-9A-Fa-f]{{8}}\)\]$)"
    r"|^ERROR: Job failed: (?:command terminated with )?exit (?:code|status)"
    r"|\bexits with return code =|\b(?:Command|Task) exited with return code|^exit_codes:"
    r"|^DONE: Running task '[^']{1,80}', exit status|\bJob \d+ failed with return code list:\s*\[(?:0, )*"
    r"|\bexited with a non-zero status of|\bterminated with an error exit status \("
    r"|^\(1\) Normal termination \(return value"
    r'|^Script done on .{1,80} \[COMMAND_EXIT_CODE="(?=\d+"\])'
    r"|\bcontainer die \w+ \(exitCode=|\bApp \[[^\]]*\] exited with code \["
    r"|^(?:ELIFECYCLE\s+|error )?Command failed with exit code"
    rf"|^Command terminated by signal|^Exit status:) *{_NUMBER}"
)
_ECHOED: Final = r"^(?:\+{1,4} exit +|(?i:rc|ret|exit|returned|\$\?)(?: *[=:] *| +))(-?\d{1,3})$"
"""By a script of somebody's own."""
_BATCH_SYSTEM: Final = r"^(?i:Exit_status *=|Job exit value:) *(-?\d{1,4})$"
"""PBS adds 256 to a signal."""
_SAID_BY_ANYBODY: Final = (
    r"(?i)\b(?:(?:exit|return|status|error)[ _-]?)?(?:code|status|exit_status|errno)\b[\s:=]*"
    r"(-?\d{1,10})(?: ?\(0x[0-9a-f]+\))?[\"')\]]*(?:[.,;].*|\s*[\[(].*)?$"
    r"|\bexited (?:\((\d+)\)|with (-?\d+)\W*$)"
)
"""Of launchers, runners and schedulers without number. Only codes that a signal made, or Windows' own, are believed:
of any other the sentence may be about something else."""
_ENDING: Final = r"(?i)exit|return|\bdied|\bfail|\bend(?:ed|s)\b|\bterminat|\bfinish|\bcomplet|ERR!"
_SIGNALS: Final = frozenset(SIGNAL_NAMES)
HINTS: Final = (
    *(
        "exit",
        "Exit",
        "code",
        "status",
        "errno",
        "EXIT_CODE",
        "return value",
        "退出",
        "結束",
        "終了",
        "종료",
        "sortie",
        "salida",
        "saída",
        "uscita",
        "выхода",
        "заверш",
    ),
    *("rc=", "rc:", "RC=", "RC:", "EXIT", "ret=", "ret:", "returned ", "$?"),
    *("wyjścia", "çıkış", "afsluit", "slutkod", "avsluts", "interrupted by signal", "terminated by signal", " (0x"),
)
WINDOWS_CODES: Final = {
    0xC0000005: "access violation",
    0xC000001D: "illegal instruction",
    0xC0000017: "not enough memory",
    0xC0000094: "division by zero",
    0xC00000FD: "stack overflow",
    0xC0000135: "a DLL was not found",
    0xC0000142: "a DLL failed to start",
    0xC000013A: "Ctrl-C",
    0xC0000374: "heap corruption",
    0xC0000409: "abort",
    0xC06D007E: "a module was not found",
    0x40010004: "the debugger ended it",
}
CONTROL_C: Final = 0xC000013A


def exit_code_told(text: str) -> int | None:
    """The exit code that ``text`` (no indentation, no stamp) tells; None when it tells none. As a shell counts: a
    signal is negative or above 128. Windows' are negative."""
    code = job_exit_code(text)
    if code is not None:
        return code
    if not any_in(HINTS, text):
        return None
    if match := re.search(_INTERRUPTED, text):
        return int(match[1])
    if match := re.search(_BATCH_SYSTEM, text):
        code = int(match[1])
        return code - 128 if code > 256 else code
    match = re.search(_LAUNCHERS, text)
    if match is not None:
        code = int(match[1])
        return -code if "terminated by signal" in match[0] else code
    match = re.match(_EDITOR, text) or re.match(_CODE_FIRST, text)
    return int(match[1]) if match else _said_by_anybody(text)


def _said_by_anybody(text: str) -> int | None:
    if echoed := re.match(_ECHOED, text):
        code = int(echoed[1])
    else:
        match = re.search(_SAID_BY_ANYBODY, text)
        if match is None or not re.search(_ENDING, text):
            return None
        code = int(match[1] or match[2] or match[3])
    of_a_signal = code - 128 in _SIGNALS or (code < -1 and -code in _SIGNALS)
    return code if of_a_signal or code & 0xFFFFFFFF in WINDOWS_CODES else None
