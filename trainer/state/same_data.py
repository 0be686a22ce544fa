"""A resume is of the data that its run was trained on: what a state holds of it, and what other data means."""

from __future__ import annotations

import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from ultralytics.data.utils import IMG_FORMATS

from trainmaster.trainer.arguments import ArgumentsError
from trainmaster.trainer.contract import RunLayout
from trainmaster.trainer.data.identity import DataIdentity, class_names, folder_names, names_difference
from trainmaster.trainer.data.inventory import DataFiles
from trainmaster.trainer.engines.protocol import EngineTrainer
from trainmaster.trainer.settings.inputs import listed_names


class KnownData:
    """The identity of the data set in work, reckoned once for each that a run has."""

    def __init__(self) -> None:
        self._dataset: Any = None
        self._identity: DataIdentity | None = None

    def of(self, dataset: Any) -> DataIdentity:
        """The identity of ``dataset`` as it is now."""
        if self._identity is None or self._dataset is not dataset:
            self._dataset, self._identity = dataset, DataIdentity.of(dataset)
        return self._identity


def record_of(trainer: EngineTrainer, known: KnownData) -> dict[str, Any]:
    """What a state holds of the data that ``trainer`` trains on."""
    identity = known.of(trainer.train_loader.dataset).as_record()
    return {**identity, "names": [list(pair) for pair in class_names(trainer.data.get("names")).items()]}


def files_of(trainer: EngineTrainer) -> DataFiles:
    """Which files ``trainer`` trains on and validates with."""
    images: list[str] = []
    labels: list[str] = []
    for loader in (trainer.train_loader, getattr(trainer, "test_loader", None)):
        whole = getattr(loader, "dataset", None)
        for dataset in _listed(getattr(whole, "datasets", None)) or [whole]:  # of a concatenation, each
            found = getattr(dataset, "im_files", None)
            if found is None:  # ClassificationDataset: (path, class, ...) a sample; of a dataset of one's own, anything
                samples = _listed(getattr(dataset, "samples", None))
                found = [one[0] for one in samples if isinstance(one, list | tuple) and one]
            images += _paths(found)
            labels += _paths(getattr(dataset, "label_files", None))
    data = Path(str(trainer.args.data))
    settings = (str(data),) if data.is_file() else ()
    return DataFiles(images=images, labels=labels, settings=settings, suffixes=frozenset(IMG_FORMATS))


def _listed(values: Any) -> list[Any]:
    return list(values) if isinstance(values, list | tuple) else []


def _paths(values: Any) -> list[str]:
    """Those of ``values`` that name a file."""
    return [str(value) for value in _listed(values) if isinstance(value, str | os.PathLike)]


def require_same_classes(layout: RunLayout, state: Mapping[str, Any], overrides: Mapping[str, Any]) -> None:
    """The data set still has the classes that the model learned, as far as can be told without loading it.

    Raises:
        ArgumentsError: it has not; says which.
    """
    if overrides.get("single_cls"):
        return
    data = Path(str(overrides["data"]))
    names = folder_names(data) if data.is_dir() else listed_names(str(data))
    _refuse_other_classes(layout, state, str(data), names)


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
    difference = DataIdentity.of(trainer.train_loader.dataset).difference(record)
    if difference is not None and exact:
        raise ArgumentsError(
            f"exact=true can't go on with other data: {difference} (data={trainer.args.data})",
            f"put the data back as it was, or trainmaster resume {layout.root} exact=false",
        )
    return difference


def _refuse_other_classes(layout: RunLayout, state: Mapping[str, Any], data: str, names: Any) -> None:
    before = dict(_record(state).get("names") or [])
    if difference := names_difference(before, names):
        raise ArgumentsError(
            f"data={data} has other classes than the run {layout.name} was trained on: {difference}",
            f"put the names back, or start a new run from its weights: "
            f"trainmaster train model={layout.weights / 'best.pt'} data={data}",
        )


def _record(state: Mapping[str, Any]) -> Mapping[str, Any]:
    record = state.get("data")
    return record if isinstance(record, Mapping) else {}
