"""The full-precision state of a run: what Ultralytics' half-precision file leaves out, safe to load."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Final

import torch

from trainmaster.trainer.checkpoints.files import Announce, SavedFile, replacing, require_digest

_SCALARS: Final = (type(None), bool, int, float, str)
_TENSORS: Final = (torch.Tensor, torch.nn.Parameter)
_MAPPINGS: Final = (dict, OrderedDict)
_SEQUENCES: Final = (list, tuple)


class StateContentError(TypeError):
    """A state holds something that ``load_state`` would refuse."""


def save_state(
    path: Path, state: Mapping[str, Any], *, durable: bool = True, announce: Announce | None = None
) -> SavedFile:
    """``path`` holds ``state``; digest and size are of the bytes as written, and ``announce`` was told before.

    Only tensors, dicts (and ordered dicts), lists, tuples, str, int, float, bool and None go in, exactly these types,
    so that :func:`load_state` needs to run no code from the file. Everything else must be encoded by the caller:
    the random state of numpy as its int tuple with the key array as a tensor, that of ``random`` as the nested tuple
    it is, a numpy number through ``float()``, an enum by its value, bytes as a ``uint8`` tensor. Tensors on a device
    come back on the CPU.

    Raises:
        StateContentError: names the first thing that is none of these, and where it is.
        OSError: no space, no permission; ``path`` holds what it held and no temporary stays.
    """
    _check(state if isinstance(state, _MAPPINGS) else dict(state), "state")
    with replacing(path, durable=durable, announce=announce) as writer:
        # Not torch.save: Ultralytics replaces it with one that, after an error, begins again behind what it has written
        # (utils/patches.py), which gives a file that cannot be loaded and looks whole from its end.
        torch.serialization.save(state, writer)  # type: ignore[arg-type]  # all that it calls is write and flush
    return writer.saved


def load_state(path: Path, *, expected_sha256: str | None = None) -> dict[str, Any]:
    """What :func:`save_state` was given, on the CPU. Runs no code from the file.

    Raises:
        DigestError: the file does not hold the bytes with ``expected_sha256``.
        OSError: no such file, no permission.
        RuntimeError, pickle.UnpicklingError: truncated, or no such state.
    """
    with path.open("rb") as stream:
        if expected_sha256 is not None:
            require_digest(path, stream, expected_sha256)
        state: dict[str, Any] = torch.load(stream, map_location="cpu", weights_only=True)
    return state


def _check(value: Any, where: str) -> None:
    kind = type(value)
    if kind in _SCALARS or kind in _TENSORS:
        return
    if kind in _MAPPINGS:
        for key, item in value.items():
            if type(key) not in {str, int, float, bool, type(None), tuple}:
                raise _refusal(key, f"a key of {where}")
            _check(item, f"{where}[{key!r}]")
    elif kind in _SEQUENCES:
        for index, item in enumerate(value):
            _check(item, f"{where}[{index}]")
    else:
        raise _refusal(value, where)


def _refusal(value: Any, where: str) -> StateContentError:
    kind = type(value)
    return StateContentError(
        f"{where} is a {kind.__module__}.{kind.__qualname__}; a state holds tensors, dicts, lists, tuples, str, int, "
        "float, bool and None only. Encode it before saving"
    )
