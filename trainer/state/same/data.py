"""A resume is of the data that its run was trained on: what a state holds of it, and what other data means."""

from __future__ import annotations

import shlex
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Final

from ultralytics.data.utils import IMG_FORMATS

from trainmaster.trainer.arguments import ArgumentsError
from trainmaster.trainer.contract import RunLayout
from trainmaster.trainer.data.identity import DataIdentity, class_names, folder_names, names_difference
from trainmaster.trainer.data.inventory import DataFiles
from trainmaster.trainer.data.samples import Samples
from trainmaster.trainer.engines.protocol import EngineTrainer
from trainmaster.trainer.settings.inputs import listed_names, num_classes

_MAKES_SAMPLES: Final = (
    *("channels", "kpt_shape", "flip_idx", "kpt_oks_sigmas"),
    *("label_mapping", "bg_class_idx", "depth_scale"),
)

_ADDS_A_CLASS: Final = "semantic"
"""The task that adds a background to the classes of polygons when it loads them."""


class KnownData:
    """The identity of the data sets in work, reckoned once for each that a run has."""

    def __init__(self) -> None:
        self._known: dict[bool, tuple[Any, DataIdentity]] = {}

    def of(self, dataset: Any, *, sampled: bool = True) -> DataIdentity:
        """The identity of ``dataset`` as it is now; ``sampled`` as for :meth:`DataIdentity.of`."""
        known = self._known.get(sampled)
        if known is None or known[0] is not dataset:
            known = self._known[sampled] = dataset, DataIdentity.of(dataset, sampled=sampled)
        return known[1]


def record_of(trainer: EngineTrainer, known: KnownData) -> dict[str, Any]:
    """What a state holds of the data that ``trainer`` trains on and validates with."""
    identity = known.of(trainer.train_loader.dataset).as_record()
    validation = _validation_set(trainer)
    return {
        **identity,
        **({} if validation is None else {"val": known.of(validation, sampled=False).as_record()}),
        "names": [list(pair) for pair in class_names(trainer.data.get("names")).items()],
        "described": described(trainer.data),
    }


def described(data: Mapping[str, Any]) -> dict[str, str]:
    """What a data set's description says beside its places and classes that makes other samples of the same files."""
    return {name: str(data[name]) for name in _MAKES_SAMPLES if data.get(name) is not None}


def files_of(trainer: EngineTrainer) -> DataFiles:
    """Which files ``trainer`` trains on and validates with."""
    loaders = (trainer.train_loader, getattr(trainer, "test_loader", None))
    trained, validated = (Samples.of(getattr(loader, "dataset", None)) for loader in loaders)
    data = Path(str(trainer.args.data))
    return DataFiles(
        images=trained.images + validated.images,
        labels=trained.label_files + validated.label_files,
        settings=(str(data),) if data.is_file() else (),
        suffixes=frozenset(IMG_FORMATS),
    )


def require_same_classes(layout: RunLayout, state: Mapping[str, Any], overrides: Mapping[str, Any]) -> None:
    """The data set still has the classes that the model learned, as far as can be told without loading it.

    Raises:
        ArgumentsError: it has not; says which.
    """
    task, data = state["task"], str(overrides["data"])
    if overrides.get("single_cls") or task == _ADDS_A_CLASS:
        return
    have, need = num_classes(data), len(_record(state).get("names") or ()) or state["model_yaml"].get("nc")
    if have and need and have != need:
        raise ArgumentsError(
            f"data={data} has {have} classes, the model of {layout.name} has {need}",
            f"a new run from its weights: {begun_anew(layout, data)}",
        )
    names = folder_names(Path(data)) if task == "classify" else listed_names(data)
    _refuse_other_classes(layout, state, data, names)


def require_same_data(
    layout: RunLayout, state: Mapping[str, Any], trainer: EngineTrainer, *, exact: bool
) -> str | None:
    """What is not as it was in the data that ``trainer`` has loaded, in words; None when all of it is, or nobody knows.

    Raises:
        ArgumentsError: its classes are other ones, or anything is and the run is to be ``exact``.
    """
    record = _record(state)
    if not trainer.args.single_cls:
        _refuse_other_classes(layout, state, str(trainer.args.data), trainer.data.get("names"))
    dataset = trainer.train_loader.dataset
    identity = DataIdentity.of(dataset)
    difference = identity.difference(record)
    if exact and not identity.count:
        difference = f"nobody knows which images a {type(dataset).__name__} has"
    difference = difference or _difference_of_description(record.get("described"), trainer.data)
    differences = list(filter(None, (difference, _validation_difference(state, trainer) if exact else None)))
    if differences and exact:
        raise ArgumentsError(
            f"exact=true can't go on with other data: {'; '.join(differences)} (data={trainer.args.data})",
            f"put the data back as it was, or trainmaster resume {shlex.quote(str(layout.root))} exact=false",
        )
    return difference


def _difference_of_description(before: Any, data: Mapping[str, Any]) -> str | None:
    """Which key says something else than it did; a state of before knows nothing of them."""
    if not isinstance(before, Mapping):
        return None
    now = described(data)
    other = [name for name in _MAKES_SAMPLES if now.get(name) != before.get(name)]
    return ", ".join(f"{name} is {now.get(name)} and was {before.get(name)}" for name in other) or None


def note_of_validation(state: Mapping[str, Any], trainer: EngineTrainer) -> str | None:
    """What other validation images mean for the run that goes on, in words; None when they are as they were."""
    difference = _validation_difference(state, trainer)
    if difference is None:
        return None
    return f"{difference}: fitness and patience are of other images from here on, and best.pt is compared across both"


def _validation_difference(state: Mapping[str, Any], trainer: EngineTrainer) -> str | None:
    """What of the validation set is not as ``state`` has it; a state of before has nothing of it."""
    record, dataset = _record(state).get("val"), _validation_set(trainer)
    if dataset is None or not isinstance(record, Mapping):
        return None
    difference = DataIdentity.of(dataset, sampled=False).difference(record)
    return None if difference is None else f"in the validation set, {difference}"


def _validation_set(trainer: EngineTrainer) -> Any:
    """None in a rank that validates nothing."""
    return getattr(getattr(trainer, "test_loader", None), "dataset", None)


def begun_anew(layout: RunLayout, data: str) -> str:
    """The command that begins another run with the best weights of this one."""
    return shlex.join(("trainmaster", "train", f"model={layout.weights / 'best.pt'}", f"data={data}"))


def _refuse_other_classes(layout: RunLayout, state: Mapping[str, Any], data: str, names: Any) -> None:
    before = dict(_record(state).get("names") or [])
    if difference := names_difference(before, names):
        raise ArgumentsError(
            f"data={data} has other classes than the run {layout.name} was trained on: {difference}",
            f"put the names back, or start a new run from its weights: {begun_anew(layout, data)}",
        )


def _record(state: Mapping[str, Any]) -> Mapping[str, Any]:
    record = state.get("data")
    return record if isinstance(record, Mapping) else {}
