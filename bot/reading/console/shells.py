"""What a shell or an editor says of a process that ended, in the reader's language.

bash, dash and ksh print the C library's name of the signal in the language of the reader, bash with the place in the
script before it and the command behind it; zsh and fish have their own words, macOS adds the signal's number, an editor
tells the exit code. So the shape of a line is looked at first, and the words only where the shape says too little.
"""

from __future__ import annotations

import re
from typing import Final

SIGNAL_NAMES: Final = {
    1: "SIGHUP", 2: "SIGINT", 3: "SIGQUIT", 4: "SIGILL", 5: "SIGTRAP", 6: "SIGABRT", 7: "SIGBUS", 8: "SIGFPE",
    9: "SIGKILL", 11: "SIGSEGV", 15: "SIGTERM", 24: "SIGXCPU", 25: "SIGXFSZ", 31: "SIGSYS",
}  # fmt: skip
KILLING: Final = frozenset({"SIGHUP", "SIGKILL", "SIGTERM", "SIGXCPU"})
"""Sent from outside. Others are a process's own fault."""
UNKNOWN_SIGNAL: Final = ""
"""A shell tells of a signal in words that are not known."""

_ALONE: Final = {
    "SIGKILL": (
        "Killed|Getötet|Processus (?:arrêté|tué)|Tué|Terminado \\(killed\\)|Matado|Ucciso|Morto|Geëlimineerd|Gedood"
        "|Unicestwiony"
        "|Zabity|Убито|Убит|Вбито|Знищено|Zabit|Zabitý|已杀死|已殺死|已砍掉|砍掉|强制终止|強制終了|죽었음|죽임"
        "|Öldürüldü"
        "|Süreç durduruldu|Dödad|Dræbt|Tapettu|Drept|Kilőve|Kilőtték|Σκοτώθηκε|Mort|Omorât|Bị giết|Đã giết|Terbunuh"
        "|Dimatikan|Dibunuh|Ubijen|Убијен|Забіты"
    ),
    "SIGSEGV": (
        "Segmentation fault|Memory fault|Speicherzugriffsfehler|Erreur de segmentation|Violación de segmento"
        "|Fallo de segmentación"
        "|Errore di segmentazione|Falha de segmentação|Segmentatiefout|Naruszenie ochrony pamięci|Błąd segmentacji"
        "|Ошибка сегментирования|Ошибка сегментации|Помилка адресування|Neoprávněný přístup do paměti|段错误"
        "|記憶體區段錯誤"
        "|程式記憶體區段錯誤|区段错误|セグメンテーション違反|セグメンテーションフォルト|セグメントエラー"
        "|세그멘테이션 오류|세그먼트 오류"
        "|세그멘테이션 폴트|Parçalama arızası|Bölümleme hatası|Segmenteringsfel|Segmentfejl|Lagersegmentfejl"
        "|Muistialueen ylitys|Segmenteringsfeil|Szegmenshiba|Szegmentálási hiba|Σφάλμα κατάτμησης|Violació de segment"
        "|Lỗi phân đoạn"
    ),
    "SIGBUS": (
        "Bus error|Bus-Zugriffsfehler|Busfehler|Erreur du bus|Erreur de bus|Error de(?:l)? bus|Errore di bus"
        "|Erro de barramento|Busfout|Błąd szyny|Ошибка шины|总线错误|匯流排錯誤|バスエラー|버스 오류|Bussfel"
    ),
    "SIGABRT": (
        "Aborted|Abort trap|Аварийный останов|已放弃|已中止|アボートしました"
    ),
    "SIGFPE": (
        "Floating point exception|Floating-point exception|Arithmetic exception|Gleitkomma-Ausnahme"
        "|Exception en point flottant|Excepción de coma flotante|Eccezione in virgola mobile|浮点数例外"
        "|浮点异常|浮動小数点例外"
    ),
    "SIGILL": (
        "Illegal instruction|Illegal hardware instruction|Ungültiger Maschinenbefehl|Instruction non permise"
        "|Instruction illégale|Instrucción ilegal|Istruzione non consentita|Недопустимая инструкция|非法指令"
        "|不正な命令です"
    ),
    "SIGTRAP": "Trace/breakpoint trap|Trace/BPT trap|Trace trap",
    "SIGSYS": "Bad system call",
    "SIGXCPU": "CPU time limit exceeded|Cputime limit exceeded|超出 CPU 时限",
    "SIGXFSZ": "File size limit exceeded|Filesize limit exceeded",
    "SIGTERM": "Terminated|Beendet|已终止|已終止",
    "SIGHUP": "Hangup|Aufgelegt|Fin de la connexion \\(raccroché\\)|挂断|Обрыв терминальной линии",
}  # fmt: skip
"""Nothing else says these alone on a line of a training that is not complete."""
_IN_A_SHAPE: Final = {
    "SIGINT": (
        "Interrupt|Keyboard interrupt|Unterbrechung|Unterbrochen|Interruption|Interrompu|Interrompre|Interrupción"
        "|Interruzione"
        "|Interrupção|Interromper|Onderbroken|Przerwanie|Прерывание|Прервано|中断|中斷|割り込み|인터럽트|Avbrott"
    ),
    "SIGTERM": (
        "Beendet|Complété|Terminé|Terminado|Terminato|Beëindigd|Zakończony|Завершено|Завершён|已终止|终止"
        "|已終止|終了しました"
        "|終了|종료됨|Sonlandırıldı|Avslutad|Ukončen"
    ),
    "SIGHUP": "Aufgelegt|Fin de la connexion \\(raccroché\\)|Colgar|挂起|挂断|ハングアップ|Обрыв терминальной линии",
    "SIGABRT": (
        "Abort|Abgebrochen|Abbruch|Annulé|Abandon|Abortado|Annullato|Geannuleerd|Przerwane|放弃|中止|중단됨|Avbruten"
        "|Durduruldu"
    ),
}
"""Common words, which a script may well print when all is well: only where a shell's own shape is around them."""
_ALONE_BEGINS: Final = frozenset(word[0] for words in _ALONE.values() for word in words.split("|"))
_SHAPE_BEGINS: Final = frozenset(word[0] for words in _IN_A_SHAPE.values() for word in words.split("|"))
"""What they begin with: most lines begin with something else."""
_DUMPED: Final = (
    r"[^()（）]{0,40}(?:\bcore(?:dump)?\b|\bdump|Speicherabzug|núcleo|核心|記憶體|内存|コア|코어|памят|пам'ят|pamięci|paměti"
    r"|geheugen|minnes|hukommelse|çekirdek|muisti|memória|memòria|mémoire)[^()（）]{0,40}"
)
"""What a shell adds where the memory of the process was written to disk, by the words that any such sentence has."""
_SCRIPT: Final = (
    r"^(?=.*\d)\S[^:：]{0,200}?(?:\[\d+\]:? |(?<=sh): (?=\d+: )"
    r"| ?[:：] ?(?:[^\W\d]+\.? ?\d+|第 ?\d+ ?行|\d+[^\W\d]*|\d+\. ?[^\W\d]+|\d+ [^\x00-\x7f：]{1,12}) ?[:：])"
    r"\s*\d{1,8}:?\s+"
    r"(?P<said>\S.*?)(?:\s{2,}\S.*|\s*)$"
)
"""``train.sh: line 3:  4711 Killed                  python train.py``: a script, a place in it, a process."""
_DESCRIPTION_COLUMNS: Final = 24
"""bash pads the words of a signal to so many and puts the command behind them (``LONGEST_SIGNAL_DESC``, jobs.c). A
character of several bytes may count as several."""
_MAKE: Final = r"^(?:\S*/)?\w*make(?:\[\d+\])?: \*\*\* \[[^\]]*\] (?P<said>\S.*)$"
_OF_ANYBODY: Final = (
    r"\b(?:[Tt]erminated|[Kk]illed|died|crashed|exited|ended|termination|exit successfully|Negsignal)\b.{0,60}?"
    r"(?:\bsignal[ :]+(?P<number>\d{1,2})\b|\b(?P<name>SIG[A-Z]+)\b)"
    r"|^(?:Program|Thread \d+ .{1,80}) received signal (?P<fault>SIG(?:SEGV|ABRT|BUS|FPE|ILL|TRAP|SYS))\b"
    r"|\bsending (?P<sent>SIG(?:KILL|TERM)) to process \d+"
    # LSF, the second line of a launcher of MPI
    r"|^Exited with signal termination: (?:(?P<lsf>\d{1,2})|(?P<words>[A-Z][a-z ]+))\.?$"
    r"|^signal (?P<second>\d{1,2}) \([A-Z][a-z ]+\)\.?$"
)
"""Launchers, debuggers, build tools and guards of the memory."""
_PM2: Final = r"\bApp \[[^\]]*\] exited with code \[0\] via signal \[(?!SIGINT\])(?P<signal>SIG[A-Z]+)\]"
"""It names SIGINT where there was no signal."""
_JOB: Final = r"^\[\d+\]\s*[+-]?\s+(?:\d+\s+)?(?P<said>\S.*?)(?:\s{2,}\S.*|\s*)$"
_ZSH: Final = (
    r"^(?:[\w./-]+|\S+:\d+): (?P<said>killed|interrupt|terminated|hangup|segmentation fault|bus error|abort|quit"
    r"|illegal hardware instruction|floating point exception|trace trap|cpu limit exceeded|file size limit exceeded"
    r")\b(?: +\(core dumped\))?(?:\s{2,}|\s*$)"
)
_FISH: Final = r"^fish: .*\b(?P<signal>SIG[A-Z]+)\b"
_MAKE_CODE: Final = r"^[^\W\d]+\.? (?P<code>\d{1,3})$"
_ENDED_WITH_CODE: Final = r"^\[\d+\]\s*[+-]?\s+(?:\d+\s+)?(?:[Ee]xit|[^\W\d]+) (?P<code>\d{1,3})(?:\s{2,}\S.*|\s*)$"


def signal_told(text: str) -> str | None:
    """The name of the signal that a shell says has ended a process, :data:`UNKNOWN_SIGNAL` when its words are unknown;
    None when ``text`` (no indentation, no stamp) is no such line."""
    alone = _signal_named(text, _ALONE)
    if alone is not None:
        return alone
    if "] via signal [" in text:
        match = re.search(_PM2, text)
        return match["signal"] if match else None
    if text[:1] == "[" and (match := re.match(_JOB, text)):
        said = match["said"][:1].upper() + match["said"][1:]  # zsh writes them small
        if named := _signal_named(said, _ALONE) or _signal_named(said, _IN_A_SHAPE):
            return named
    if "make" in text and (match := re.match(_MAKE, text)):
        return _signal_named(match["said"], _ALONE) or _signal_named(match["said"], _IN_A_SHAPE)
    if text.startswith("fish: ") and (match := re.match(_FISH, text)):
        return match["signal"]
    if ": " in text and (match := re.match(_ZSH, text)):
        said = match["said"].capitalize()
        return _signal_named(said, _ALONE) or _signal_named(said, _IN_A_SHAPE) or UNKNOWN_SIGNAL
    if (":" in text or "：" in text or "]" in text) and (match := re.match(_SCRIPT, text)):
        said = match["said"]
        named = _signal_named(said, _ALONE) or _signal_named(said, _IN_A_SHAPE) or _signal_before_command(said)
        return named if named is not None or not _is_padded(text[match.start("said") :]) else UNKNOWN_SIGNAL
    if ("ignal" in text or "SIG" in text) and (match := re.search(_OF_ANYBODY, text)):
        if match["words"]:
            return _signal_named(match["words"], _ALONE) or UNKNOWN_SIGNAL
        number = match["number"] or match["lsf"] or match["second"]
        named = SIGNAL_NAMES.get(int(number)) if number else match["name"] or match["fault"] or match["sent"]
        return named if named is None or named in SIGNAL_NAMES.values() else None
    if text[-1:] in ")）" and re.match(rf"^[^\W\d][^\d:：]{{1,60}}? ?[(（](?:{_DUMPED})[)）]$", text):
        return UNKNOWN_SIGNAL
    return None


def job_exit_code(text: str) -> int | None:
    """The exit code in ``[1]+  Exit 137    python train.py``, or make's in ``[train] Error 137``, in any language; None
    for anything else."""
    match = re.match(_ENDED_WITH_CODE, text) if text[:1] == "[" else None
    if match is None and "make" in text and (made := re.match(_MAKE, text)):
        match = re.match(_MAKE_CODE, made["said"])
    return int(match["code"]) if match else None


def _is_padded(said: str) -> bool:
    """Whether ``said`` has the columns in which bash tells of a signal; no program's message has them by chance."""
    match = re.match(r"([^\W\d][^\d:：]*?\S?(?:\s{2,}))\S", said)
    if match is None:
        return False
    shortest = _DESCRIPTION_COLUMNS if match[1].isascii() else _DESCRIPTION_COLUMNS // 2
    return shortest <= len(match[1]) <= _DESCRIPTION_COLUMNS


def _signal_before_command(said: str) -> str | None:
    """The signal whose words fill the columns of bash, so that the command stands right behind them."""
    for name, words in _ALONE.items() if said[:1] in _ALONE_BEGINS else ():
        match = re.match(rf"(?:{words})(?=[ (（])", said)
        if match and len(match[0].encode()) >= _DESCRIPTION_COLUMNS - 1:
            return name
    return None


def _signal_named(said: str, table: dict[str, str]) -> str | None:
    """macOS puts the signal's number behind, a core dump is told in brackets."""
    said = said.strip() if len(said) <= 120 else ""
    if said[:1] not in (_ALONE_BEGINS if table is _ALONE else _SHAPE_BEGINS):
        return None
    for name, words in table.items():
        if re.match(rf"(?:{words})(?:: \d+)?(?:\.| ?[(（](?:{_DUMPED}|{name})[)）]\.?)?$", said):
            return name
    return None
