"""The parts of a loss by name, whatever form Ultralytics gives them."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Protocol

import torch

Items = dict[str, torch.Tensor]
"""Losses by name, 0-dim, on the model's device."""


class LossForm(Protocol):
    """Between the form that the installed Ultralytics uses and names; :mod:`trainmaster.trainer.engines` knows it."""

    def read(self, made: Any) -> Items:
        """The parts by name, of what a model's ``loss`` returned beside the loss."""
        ...

    def write(self, items: Mapping[str, torch.Tensor]) -> Any:
        """As the training loop and the validator take them."""
        ...


class NamedForm:
    """Parts that come by name already."""

    def read(self, made: Any) -> Items:
        """The parts, which come by name already."""
        items: Items = made
        return items

    def write(self, items: Mapping[str, torch.Tensor]) -> Any:
        """As they are, in a dictionary of their own."""
        return dict(items)
