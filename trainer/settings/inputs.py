"""Checks what a person wrote, all of it at once, before anything is created."""

from __future__ import annotations

import ast
import errno
import os
from collections.abc import Callable, Collection, Iterator, Mapping
from pathlib import Path
from typing import Any, Final

from trainmaster.trainer.arguments import ArgumentsError, reject_unknown
from trainmaster.trainer.drill import parse_plan
from trainmaster.trainer.settings.guard_settings import GUARD_KEYS, take_settings

OPTIMIZERS: Final = ("Adam", "Adamax", "AdamW", "NAdam", "RAdam", "RMSprop", "SGD", "MuSGD", "auto")
"""In any case of letters (``build_optimizer`` in ``engine/trainer.py``, 8.4.190)."""
_LONGEST: Final = 120
"""Letters that are repeated of a name."""
_LITERALS: Final[Mapping[str, Any]] = {"true": True, "false": False, "none": None}
_READ_BY_ULTRALYTICS: Final = (".ndjson", ".zip", ".tar", ".gz", ".tgz", ".xz", ".bz2", ".txz", ".tbz2")
"""Data sets in one file, which it unpacks."""


def parse_values(settings: Mapping[str, str]) -> dict[str, Any]:
    """Words of the command line as Python values, the way Ultralytics reads them."""
    return {key: _value(text) for key, text in settings.items()}


def check_training(given: Mapping[str, Any]) -> None:
    """``given`` can be trained with, as far as can be told without loading it.

    Raises:
        ArgumentsError: every fault, one a line.
    """
    from ultralytics.utils import DEFAULT_CFG_DICT  # noqa: PLC0415 - takes a second to load

    faults: list[str] = []
    _collect(faults, lambda: reject_unknown(given, (*DEFAULT_CFG_DICT, *GUARD_KEYS, "save_dir"), "key"))
    faults += value_faults(given)
    if not given.get("model"):
        faults.append("no model given. Hint: model=yolo11n.yaml, or a checkpoint to fine-tune")
    if not given.get("data"):
        faults.append("no data given. Hint: data=path/to/data.yaml")
    else:
        data = str(given["data"])
        try:
            faults += data_faults(data, str(given.get("task") or ""))
        except OSError as error:  # too long a name, a folder that may not be entered, a mount that is away
            faults.append(f"data={_short(data)}: {_short(str(error.filename))}: {error.strerror}")
    faults += _place_faults(given)
    if faults:
        raise ArgumentsError("\n".join(faults))


def value_faults(given: Mapping[str, Any]) -> list[str]:
    """What is wrong with the values of known keys: of another type or range, a name or a file that is not there."""
    from ultralytics.cfg import get_cfg  # noqa: PLC0415 - takes a second to load
    from ultralytics.utils import DEFAULT_CFG_DICT  # noqa: PLC0415 - as above
    from ultralytics.utils.torch_utils import select_device  # noqa: PLC0415 - as above

    from trainmaster.trainer.data.quarantine import listed  # noqa: PLC0415 - as above

    faults: list[str] = []
    own = {key: value for key, value in given.items() if key in GUARD_KEYS}
    _collect(faults, lambda: faults.extend(exact_faults(take_settings(own)[0].exact, given)))
    if own.get("drill"):
        _collect(faults, lambda: parse_plan(str(own["drill"])))
    if own.get("quarantine"):
        _collect(faults, lambda: listed(Path(str(own["quarantine"]))))
    try:
        get_cfg(DEFAULT_CFG_DICT, {key: value for key, value in given.items() if key in DEFAULT_CFG_DICT})
        if given.get("device") and "-1" not in str(given["device"]):  # that one asks for whichever GPU is idle
            select_device(given["device"], verbose=False)
    except (TypeError, ValueError, SyntaxError) as error:
        faults.append(str(error).strip().splitlines()[0])
    devices, batch = given.get("device"), given.get("batch", 16)
    num_devices = len(devices) if isinstance(devices, list | tuple) else str(devices).count(",") + 1
    if num_devices > 1 and isinstance(batch, int | float) and batch < 1:
        faults.append(f"batch={batch} can be found out on one GPU only. Hint: batch={8 * num_devices}, say")
    if given.get("optimizer"):
        name = str(given["optimizer"])
        if name.lower() not in map(str.lower, OPTIMIZERS):
            _collect(faults, lambda: reject_unknown([name], OPTIMIZERS, "optimizer"))
    faults += _pretrained_faults(given.get("pretrained"))
    sizes = given.get("imgsz", 640)
    if not all(type(size) is int and size > 0 for size in (sizes if isinstance(sizes, list | tuple) else [sizes])):
        faults.append(f"imgsz={sizes} is no image size. Hint: a whole number of pixels, such as imgsz=640")
    return faults


def _pretrained_faults(pretrained: Any) -> list[str]:
    """Of weights to begin with, which Ultralytics looks for when the run's directory is there already."""
    from ultralytics.utils import SETTINGS  # noqa: PLC0415 - takes a second to load
    from ultralytics.utils.downloads import GITHUB_ASSETS_NAMES  # noqa: PLC0415 - as above

    if not isinstance(pretrained, str) or "://" in pretrained or Path(pretrained).name in GITHUB_ASSETS_NAMES:
        return []
    places = (Path(pretrained), Path(str(SETTINGS["weights_dir"])) / pretrained)
    whys = [_why_missing(place) for place in places]
    return [] if "" in whys else [f"pretrained={_short(pretrained)}: {whys[0]}. Hint: the path of a checkpoint (.pt)"]


def _place_faults(given: Mapping[str, Any]) -> list[str]:
    """Of where the run's directory is to be: it need not be there, but a name that can't be is told before all else."""
    project, name = str(given.get("project") or "runs"), str(given.get("name") or "train")
    path = Path(project) / name
    # Each name by itself, too: what is above it may be to come.
    whys = [_why_missing(place) for place in (path, *(Path("/") / part for part in path.parts))]
    why = next((one for one in whys if one not in {"", os.strerror(errno.ENOENT)}), "")
    return [f"project={_short(project)} name={_short(name)}: {why}"] if why else []


def _why_missing(path: Path) -> str:
    """Why there is no such thing, in the system's words; empty where there is one."""
    try:
        path.stat()
    except OSError as error:
        return error.strerror or str(error)
    return ""


def _short(text: str) -> str:
    return text if len(text) <= _LONGEST else f"{text[:_LONGEST]}…"


def exact_faults(exact: bool, settings: Mapping[str, Any]) -> list[str]:
    """What in ``settings`` makes the promise of ``exact`` impossible to keep."""
    if not exact:
        return []
    faults = []
    if settings.get("time"):
        faults.append("exact=true and time= exclude each other: the clock would set the number of epochs and each rate")
    if settings.get("deterministic") is False:
        faults.append("exact=true needs deterministic=true: other kernels give other sums each time")
    return faults


def num_classes(data: str) -> int | None:
    """How many classes a data set's YAML file names; None where it can't be told without Ultralytics' own reading."""
    content = _described(data)
    names, count = content.get("names"), content.get("nc")
    return len(names) if isinstance(names, list | dict) else count if isinstance(count, int) else None


def listed_names(data: str) -> Any:
    """The classes that a data set's YAML file names, by number; None where it can't be told, as in num_classes."""
    return _described(data).get("names")


def _described(data: str) -> dict[str, Any]:
    """What a data set's YAML file says; nothing where there is none that could be read here."""
    from ultralytics.utils import YAML  # noqa: PLC0415 - takes a second to load

    path = Path(data)
    content: dict[str, Any] = YAML.load(path) if path.suffix in {".yaml", ".yml"} and path.is_file() else {}
    return content


def data_faults(data: str, task: str) -> list[str]:
    """What is wrong with a data set: its description is missing, is no YAML, or points to nothing.

    Whatever Ultralytics reads has no fault (``check_det_dataset`` and ``check_cls_dataset`` in ``data/utils.py``,
    8.4.190); what only it can tell, of an archive or an address, it tells when it is read.
    """
    from ultralytics.utils import DATASETS_DIR, YAML  # noqa: PLC0415 - takes a second to load

    path = Path(data)
    if "://" in data or path.is_dir() or (path.is_file() and path.name.lower().endswith(_READ_BY_ULTRALYTICS)):
        return []
    if task == "classify":
        return [] if (DATASETS_DIR / path).is_dir() else [f"data={data}: no such directory"]
    if path.suffix.lower() not in {".yaml", ".yml"}:
        is_named = (DATASETS_DIR / path).is_dir() or (path.name == data and _is_known(f"{data}.yaml"))
        return [] if is_named and not path.exists() else [f"data={data} is no .yaml file"]
    if not path.is_file():
        return [] if path.name == data and _is_known(data) else [f"data={data}: no such file"]
    try:
        content = YAML.load(path)
    except Exception as error:  # noqa: BLE001 - whatever the parser raises, the person gets it in words
        return [f"data={data} is no YAML: {str(error).splitlines()[0]}"]
    if not isinstance(content, dict):
        return [f"data={data} holds no keys"]
    places = {"train": content.get("train"), "val": content.get("val") or content.get("validation")}
    faults = [f"data={data} lacks {key!r}" for key, listed in places.items() if not listed]
    faults += [f"data={data}: {fault}" for fault in class_faults(content.get("names"), content.get("nc"))]
    if content.get("download"):
        return faults
    root = Path(str(content.get("path") or path.parent))
    if not root.exists() and not root.is_absolute():
        root = DATASETS_DIR / root
    return [*faults, *(fault for key, listed in places.items() for fault in _faults_of_places(data, root, key, listed))]


def _faults_of_places(data: str, root: Path, key: str, listed: Any) -> Iterator[str]:
    """Of what the data set's file says of ``key``: places that are not there, and folders without images."""
    from ultralytics.data.utils import IMG_FORMATS  # noqa: PLC0415 - takes a second to load

    from trainmaster.trainer.data.quarantine import files_below  # noqa: PLC0415 - as above

    for place in map(str, listed if isinstance(listed, list) else [listed] if listed else []):
        found = (root / place).resolve()
        if not found.exists() and place.startswith("../") and not isinstance(listed, list):
            found = (root / place.removeprefix("../")).resolve()  # as Roboflow exports say it
        if not found.exists():
            yield f"data={data}: {key}: {root / place} does not exist"
        elif found.is_dir() and not any(_is_image(file, IMG_FORMATS) for file in files_below(found)):
            yield f"data={data}: {key}: {found} holds no images"


def _is_image(file: str, formats: Collection[str]) -> bool:
    return file.rpartition(".")[-1].lower() in formats


def class_faults(names: Any, nc: Any) -> list[str]:
    """What is wrong with the classes of a data set. Numbers may be words, such as ``'10'``, as in an export by JSON."""
    from trainmaster.trainer.data.identity import class_names  # noqa: PLC0415 - loads NumPy

    if names is None and nc is None:
        return ["lacks 'names'"]
    if nc is not None and not _is_count(nc):
        return [f"nc: {nc!r} is no number of classes"]
    if names is None:
        return []
    if not isinstance(names, list | dict) or not names:
        return [f"names: {names!r} is no list of classes, nor names by their number"]
    faults = []
    if isinstance(names, dict) and class_names(names).keys() != set(range(len(names))):
        numbers = ", ".join(map(str, names))
        faults.append(
            f"names has {len(names)} classes with the numbers {numbers}; they must go from 0 up, without gaps"
        )
    if nc is not None and float(nc) != len(names):
        faults.append(f"nc is {nc}, but there are {len(names)} names. Hint: leave nc out")
    return faults


def _is_count(value: Any) -> bool:
    try:
        return not isinstance(value, bool) and float(value) >= 1 and float(value).is_integer()
    except (TypeError, ValueError):
        return False


def _is_known(name: str) -> bool:
    """Whether Ultralytics ships a data set description of that name."""
    from ultralytics.utils import ROOT  # noqa: PLC0415 - takes a second to load

    return any((ROOT / "cfg" / "datasets").rglob(name))


def _collect(faults: list[str], check: Callable[[], object]) -> None:
    try:
        check()
    except ArgumentsError as error:
        faults.append(error.message + (f". Hint: {error.hint}" if error.hint else ""))


def _value(text: str) -> Any:
    lowered = text.strip().lower()
    if lowered in _LITERALS:
        return _LITERALS[lowered]
    try:
        return ast.literal_eval(text)
    except (SyntaxError, ValueError):
        return text
