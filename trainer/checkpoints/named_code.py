"""Which names a checkpoint's pickle may use, and what loading it would run otherwise. Looks none of them up."""

from __future__ import annotations

import re
import sys
from _compat_pickle import IMPORT_MAPPING, NAME_MAPPING
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final

from trainmaster.trainer.checkpoints.pickled import Name, Use

SAFE_CALLS: Final = {
    "torch._utils": {
        *("_rebuild_tensor", "_rebuild_tensor_v2", "_rebuild_tensor_v3", "_rebuild_parameter"),
        *("_rebuild_parameter_with_state", "_rebuild_from_type_v2"),
    },
    "torch._tensor": {"_rebuild_from_type_v2"},
    "torch.serialization": {"_get_layout"},
    "torch": {"Size", "device"},
    "collections": {"OrderedDict", "defaultdict", "Counter", "deque"},
    "builtins": {
        *("set", "frozenset", "dict", "list", "tuple", "bytearray", "complex", "range", "slice"),
        *("int", "float", "str", "bool", "bytes", "object"),
    },
    "copyreg": {"_reconstructor", "__newobj__", "__newobj_ex__"},
    "_codecs": {"encode"},
    "types": {"SimpleNamespace"},
    "argparse": {"Namespace"},
    "pathlib": {"Path", "PosixPath", "WindowsPath", "PurePath", "PurePosixPath", "PureWindowsPath"},
    "pathlib._local": {"Path", "PosixPath", "WindowsPath", "PurePath", "PurePosixPath", "PureWindowsPath"},
    "datetime": {"datetime", "date", "time", "timedelta", "timezone"},
    "numpy": {"dtype", "ndarray"},
    "numpy.core.multiarray": {"_reconstruct", "scalar"},
    "numpy._core.multiarray": {"_reconstruct", "scalar"},
    "numpy._core.numeric": {"_frombuffer"},
    "numpy.core.numeric": {"_frombuffer"},
    "torchvision.transforms.functional": {"InterpolationMode"},
}
"""Calls that build data and do nothing else."""

UNJUDGED_CALLS: Final = {
    "torch._utils": {
        *("_rebuild_qtensor", "_rebuild_sparse_tensor", "_rebuild_nested_tensor"),
        "_rebuild_meta_tensor_no_storage",
    },
}
"""Those whose tensors nobody looks into here: quantized ones, sparse ones, ones without numbers. Torch's own safe
reader takes them (``torch/_weights_only_unpickler.py``)."""

BUILDING_CALLS: Final = {
    "functools": {"partial"},
    "logging": {"getLogger"},
    "re": {"_compile"},
    "random": {"Random"},
    "decimal": {"Decimal"},
    "fractions": {"Fraction"},
    "uuid": {"UUID"},
    "itertools": {"count"},
    "operator": {"itemgetter", "attrgetter"},
    "contextlib": {"nullcontext"},
    "numpy.random._pickle": {"__generator_ctor", "__bit_generator_ctor", "__randomstate_ctor"},
    "numpy.random.bit_generator": {"__pyx_unpickle_SeedSequence"},
    "torch._dynamo.eval_frame": {"OptimizedModule", "OptimizeContext"},
}
"""Those that build what layers of people's own hold, and run nothing that they are not given by name."""

_CLASS_HOMES: Final = re.compile(
    r"torch\.nn\.modules(\.\w+)*|torch\.nn\.parameter|torch\.optim(\.\w+)*"
    r"|torchvision\.(models|ops|transforms)(\.\w+)*"
    r"|ultralytics\.nn\.(modules(\.\w+)*|tasks|distill_model|text_model)"
    r"|ultralytics\.(yolo\.)?utils\.(loss|tal|torch_utils)|ultralytics\.(models|vit)\.utils\.(loss|ops)"
    r"|ultralytics\.nn\.mixins"
    r"|models\.(common|yolo|experimental)"  # YOLOv5 and YOLOv7, which Ultralytics still loads
)
"""Where layers come from: instances may be rebuilt, never constructed. ``DetectionModel(cfg)`` runs ``eval`` on the
activation named in ``cfg`` (ultralytics/nn/tasks.py, ``parse_model``), so a constructor call is no safe call."""

_NAMESPACES: Final = frozenset(
    {"ultralytics.utils.IterableSimpleNamespace", "ultralytics.yolo.utils.IterableSimpleNamespace"}
)
"""Of the other classes there, one writes a file wherever it is told to when an item is set (``JSONDict``)."""

_FUNCTION_HOMES: Final = frozenset({"torch.nn.functional", "torch._C._nn", "torch.nn.init"})
_TORCH_DATA: Final = re.compile(
    r"\w+Storage|u?int\d+|q?u?int\d+x?\d*|b?float\d+\w*|complex\d+|bool|half|double|float|long|int|short"
    r"|strided|per_(tensor|channel)_(affine|symmetric)|contiguous_format|preserve_format|channels_last|channels_last_3d"
)
_CLASS_NAME: Final = re.compile(r"_*[A-Z]\w*")
_MEMBER_NAME: Final = re.compile(r"\w+\.(forward\w*|[A-Z][A-Z0-9_]*)")
"""A way through a module (``Detect.forward``, in the heads of Ultralytics before 8.4), one of an enumeration."""


@dataclass(frozen=True, slots=True, kw_only=True)
class CodeFound:
    """Names by what they mean; all empty for an ordinary checkpoint."""

    would_run: tuple[str, ...]
    """Loading the file without ``weights_only`` would run these, or they have no business in a checkpoint."""
    unjudged: tuple[str, ...]
    """Tensors made so hold numbers that are not judged."""
    unfamiliar: tuple[str, ...]
    """Classes of somebody's own: their code runs on loading too, and whether that is meant cannot be told."""


def code_in(uses: Mapping[Name, Use]) -> CodeFound:
    """Sort the names of a pickle."""
    would_run: list[str] = []
    unfamiliar: list[str] = []
    unjudged: list[str] = []
    for name, use in uses.items():
        module, bare = _today(name)
        if bare in UNJUDGED_CALLS.get(module, ()):
            unjudged.append(bare)
            continue
        if _is_safe(module, bare, use):
            continue
        foreign_class = use < Use.CALLED_BARE and module.split(".")[0] not in sys.stdlib_module_names
        builds = bare in BUILDING_CALLS.get(module, ())
        (unfamiliar if foreign_class or builds else would_run).append(f"{module}.{bare}")
    return CodeFound(would_run=tuple(would_run), unjudged=tuple(unjudged), unfamiliar=tuple(unfamiliar))


def _today(name: Name) -> tuple[str, str]:
    """Module and name as an unpickler reads them: protocol 2, torch's default, is written with the names of Python 2,
    and ``subprocess`` is called ``commands`` there."""
    named = NAME_MAPPING.get((name.module, name.name))
    return named or (IMPORT_MAPPING.get(name.module, name.module), name.name)


def _is_safe(module: str, name: str, use: Use) -> bool:
    if name in SAFE_CALLS.get(module, ()):
        return True
    if use is Use.CALLED:
        return False
    if (module, name, use) == ("torch", "Tensor", Use.NAMED):  # what a rebuilt tensor is an instance of
        return True
    if module in {"torch", "torch.storage"} and _TORCH_DATA.fullmatch(name):
        return True
    if (module, name, use) == ("builtins", "getattr", Use.NAMED):  # for a module's own way, see the walk
        return True
    if module in _FUNCTION_HOMES and use is Use.NAMED and name.isidentifier():
        return True
    if f"{module}.{name}" in _NAMESPACES:
        return True
    if _CLASS_HOMES.fullmatch(module) is None:
        return False
    if use is Use.NAMED and _MEMBER_NAME.fullmatch(name):
        return True
    # Instances can be made of classes only; a bare call could be one of a function (and v10Detect is a class).
    return bool(_CLASS_NAME.fullmatch(name)) or (use < Use.CALLED_BARE and name.isidentifier())
