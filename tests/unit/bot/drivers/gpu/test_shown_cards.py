"""Cards that a trainer is shown by their UUIDs are known by them at the gate."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.unit.bot.drivers.test_start_gate import Place, cards
from trainmaster.bot.core.decisions.gate import GateCheck


@pytest.mark.parametrize(
    ("device", "shown", "against"),
    [
        pytest.param("0", "GPU-0b", False, id="the beginning of one"),
        pytest.param("0", "GPU-0a77-f3", True, id="a whole one"),
        pytest.param("1", "GPU-0a77-f3,gpu-0B", False, id="in an order of their own"),
        pytest.param("0", "GPU-0", True, id="the beginning of both"),
        pytest.param("0", "MIG-0b", True, id="a part of a card"),
    ],
)
async def test_a_card_is_known_by_its_uuid(tmp_path: Path, device: str, shown: str, against: bool) -> None:
    place = Place(tmp_path)
    place.host = cards({"asks_for": "a reset", "uuid": "GPU-0a77-f3"}, {"uuid": "GPU-0b19-c2"})
    place.record, place.environment = {"data": None}, {"CUDA_VISIBLE_DEVICES": shown}
    assert (GateCheck.GPU in await place.against(device=device)) is against
