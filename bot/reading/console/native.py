"""Ends that native code tells itself, below Python: assertions, fatal checks, a damaged heap, an uncaught exception."""

from __future__ import annotations

import re
from typing import Final

from trainmaster.bot.reading.console.patterns import any_in
from trainmaster.record import Fixed


class NativeEnd(Fixed):
    """``detail`` has the failed assertion first and its place behind it. ``on_device``: a kernel on the GPU said it."""

    detail: str
    on_device: bool


_SOURCE: Final = r"(?P<name>[^\s/\\:]{1,80}\.(?:cc|cpp|cxx|c|mm|m|hpp|hxx|hh|h|inl|cuh|cu|hip|metal|swift|rs))"
_ASSERTIONS: Final = (
    # Metal and others of Apple: "/AppleInternal/.../MPSNDArray.mm:90: failed assertion `...'"
    rf"{_SOURCE}:(?P<line>\d+):? (?:\S+ ?){{0,4}}?(?P<said>failed assertion\b.*)",
    r"(?P<said>(?:-\[\w.+|\b\w+:\d+:) failed assertion [`'\"].*)",
    # C library: "python: malloc.c:2617: sysmalloc: Assertion `...' failed."; CUDA puts block and thread before it
    rf"{_SOURCE}: ?(?P<line>\d+): (?:.*?[ :])?(?P<said>Assertion [`'\"].*[`'\"] failed.*)",
    # Windows and macOS: "Assertion failed: x > 0, file a.cpp, line 12"
    r"^(?P<said>Assertion failed: .+, (?:file|function) .+)",
    r"^(?P<said>Debug Assertion Failed!.*)",
    # glog and TensorFlow: "F0305 01:02:03.123456  4711 a.cc:12] Check failed: ..."
    r"(?:^|\s)F\d{4} \d\d:\d\d:\d{2,10}\.\d+\s+\d+ (?P<name>\S{1,80}):(?P<line>\d+)\] (?P<said>.+)",
    rf"{_SOURCE}:(?P<line>\d+)\]:? (?P<said>Check failed: .+)",
    # torch and DirectML: "[F305 01:02:03.123456789 a.cpp:12] ...", "[F dml_util.cc:118] ..."
    rf"(?:^|\s)\[F(?:\d{{3,4}} [\d:.]+)? (?:\S{{0,200}}[/\\])?{_SOURCE}:(?P<line>\d+)\] (?P<said>.+)",
    r"(?:^|\s)F \S{0,200}?(?P<name>[\w.-]{1,80}):(?P<line>\d+)\] (?P<said>.+)",
)
_ASSERTION_HINTS: Final = ("ssertion", "] ")
"""Of :data:`_ASSERTIONS`."""
_ENDS: Final = (
    r"^Fatal (?:Python|glibc) error: |^Windows fatal exception: |^\*\*\* glibc detected \*\*\* "
    r"|^(?:double free or corruption|free\(\): (?:invalid|double free)|(?:malloc|realloc)\(\): |munmap_chunk\(\): "
    r"|malloc_consolidate\(\): |tcache_\w+\(\): |corrupted (?:double-linked list|size vs\. prev_size))"
    r"|^\*\*\* (?:Error in|stack smashing detected|buffer overflow detected|Terminating app due to uncaught exception"
    r"|SIG[A-Z]+ received at time=|Aborted at \d+ \(unix time\)|Check failure stack trace)"
    r"|\bmalloc: \*\*\* error for object "
    r"|^pure virtual method called|^terminate called (?:without an active exception|recursively)"
    r"|^libc\+\+abi(?:\.dylib)?: |\] Attempt to free invalid pointer |^\[libprotobuf FATAL "
    # Rust, Go, the sanitizers of compilers, the loader of shared libraries
    r"|^thread '.{0,80}' (?:\(\d+\) )?(?:panicked at |has overflowed its stack)|^fatal runtime error: "
    r"|^memory allocation of \d+ bytes failed|^panic: (?=[a-z])|^fatal error: (?:runtime|fault|unexpected signal)\b"
    r"|^==\d+== ?ERROR: \w+Sanitizer: |^\w+Sanitizer:DEADLYSIGNAL"
    r"|: symbol lookup error: |: error while loading shared libraries: "
    r"|^Intel (?:one)?MKL FATAL ERROR: |^LLVM ERROR: |^libgomp: Thread creation failed"
    r"|^OMP: Error #\d+: |^forrtl: (?:severe|error) \(\d+\): "
    r"|\bin another thread when fork\(\) was called\..*Crashing instead"
    # Open MPI and UCX, which many a cluster loads
    r"|\] \*\*\* Process received signal \*\*\*|\] Caught signal \d+ \("
)
_END_HINTS: Final = (
    *("Fatal ", "fatal ", "double free", "free(): ", "alloc(): ", "malloc_", "malloc: ", "allocation of", "munmap"),
    *("corrupted", "*** ", "virtual", "terminate ", "FATAL", "LLVM", "libgomp", "OMP: ", "forrtl", "Crashing", "panic"),
    *("tcache_", "libc++abi", "invalid pointer", "overflowed", "Sanitizer", "symbol lookup", "loading shared"),
    "Caught signal",
)
HINTS: Final = (*_ASSERTION_HINTS, *_END_HINTS)
"""A text without any of them is no such end."""
_WORKER: Final = r"block: \[.*?\], thread: \[.*?\] *"
"""Thousands of threads of one kernel say the same."""


def native_end(text: str) -> NativeEnd | None:
    """What native code says of its own end in ``text`` (no indentation, no stamp); None when it says nothing."""
    if any_in(_ASSERTION_HINTS, text):
        for pattern in _ASSERTIONS:
            if match := re.search(pattern, text):
                return _assertion(match.groupdict())
    if any_in(_END_HINTS, text) and re.search(_ENDS, text):
        return NativeEnd(detail=text, on_device=False)
    return None


def _assertion(found: dict[str, str | None]) -> NativeEnd:
    said, name, line = found["said"] or "", found.get("name"), found.get("line")
    where = f" ({name}{f':{line}' if line else ''})" if name else ""
    on_device = bool(name and name.endswith((".cu", ".cuh", ".hip")))
    return NativeEnd(detail=re.sub(_WORKER, "", said).strip() + where, on_device=on_device)
