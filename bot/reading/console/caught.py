"""Errors that a script has caught and tells in words of its own, without a traceback: ``Training failed: ...``."""

from __future__ import annotations

import re
from typing import Final

from trainmaster.bot.reading.console.patterns import any_in

LOGGED: Final = (
    r"(?:.{0,60}?\b(?:INFO|WARNING|ERROR|CRITICAL|FATAL)\b\W{1,8}"
    r"(?:[\w.<>/-]{1,60}(?::[\w.<>-]{1,40}){0,2}\W{1,4})?)?"
)
"""What a logger of the script's own puts before its words, which no line of Ultralytics shows."""
_CAUSE: Final = (
    r"(?:(?:CUDA|HIP|MPS backend|XPU) out of memory\. ?Tried to allocate|(?:CUDA|HIP|cuDNN|NCCL) error[: ]"
    r"|DataLoader worker \(pid|Caught \w+ in DataLoader worker|Unable to allocate [\d.]+ \w+ for an array"
    r"|\[Errno (?:12|24|28|122)\] |\[WinError (?:8|14|112|1450|1455)\] )"
)
"""What torch, the drivers and the system say."""
_TOLD: Final = (
    r"^(?!.*(?i:warn)|AutoBatch|ERROR ❌|.*\bPlotting error|[\w.]+(?:Error|Exception):)"
    rf"{LOGGED}(?:[^:：]{{1,80}}[:：]\s*{_CAUSE}|(?:CUDA|HIP|cuDNN) error: \S|DataLoader worker \(pid)"
)
"""Ultralytics goes on after what it tells so; AutoBatch tells of memory that was not there, without a label."""
_FAILED: Final = (
    rf"^{LOGGED}\W*(?:(?i:error|fatal|critical)\W+)?(?!(?i:if|when|in case|should)\b)(?:"
    r"(?i:(?:\w+ ){0,3}training (?:(?:run|process|job) )?(?:has )?(?:failed|crashed)\b)"
    r"|(?i:(?:an |unexpected |fatal )*(?:error|exception)(?: occurred)? (?:during|in|while) (?:\w+ ){0,3}training\b)"
    r"|(?i:training (?:error|exception|failure)(?= ?[:：]))"
    r"|(?:模型)?训练(?:过程)?中?(?:失败|出错|报错|异常|崩溃|(?:出现|发生|遇到)了?(?:错误|异常)))"
    r"(?:[^:：\w]*$|[^:：]{0,40}[:：]\s*(?!(?i:none|no|false)\b)[^\s\d.])"
)
"""A number behind the colon is a figure of the training."""
HINTS: Final = (
    "out of memory",
    " error",
    "DataLoader worker",
    "to allocate",
    "[Errno ",
    "[WinError ",
    "raining",
    "训练",
)


def is_caught(text: str) -> bool:
    """Whether ``text`` (no indentation, no stamp) tells of an error that a script has caught."""
    return any_in(HINTS, text) and (re.search(_TOLD, text) or re.search(_FAILED, text)) is not None
