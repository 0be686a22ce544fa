from __future__ import annotations

import torch

from trainmaster.trainer.batches.progress import RunningLoss


def items(value: float) -> dict[str, torch.Tensor]:
    return {"box": torch.tensor(value), "cls": torch.tensor(2 * value)}


def test_the_mean_is_the_loop_s_own_bit_for_bit() -> None:
    torch.manual_seed(0)
    values = torch.rand(50)
    running, loop = RunningLoss(), None
    for index, value in enumerate(values):
        running.add({"box": value})
        loop = value if loop is None else (loop * index + value) / (index + 1)
    assert torch.equal(running.shown["box"], loop)


def test_an_epoch_shows_the_one_before_until_its_first_good_batch() -> None:
    running = RunningLoss()
    running.start_epoch()
    running.know(["box", "cls"])
    assert running.as_floats() == {"box": 0.0, "cls": 0.0}
    running.add(items(3.0))
    running.start_epoch()
    assert running.as_floats() == {"box": 3.0, "cls": 6.0}
    running.add(items(1.0))
    assert running.as_floats() == {"box": 1.0, "cls": 2.0}


def test_it_goes_on_from_a_record_exactly() -> None:
    whole, first, second = RunningLoss(), RunningLoss(), RunningLoss()
    for value in (0.1, 0.7):
        whole.add(items(value))
        first.add(items(value))
    second.load(first.as_record())
    for running in (whole, second):
        running.add(items(0.3))
    assert all(torch.equal(second.shown[name], whole.shown[name]) for name in whole.shown)


def test_what_turns_out_to_be_lost_is_taken_out_of_the_mean_exactly() -> None:
    whole, running = RunningLoss(), RunningLoss()
    for one in (whole, running):
        one.add(items(0.1))
    running.start_window()
    for value in (0.7, 9.0, 0.3):
        running.add(items(value))
    for value in (0.7, 0.3):
        whole.add(items(value))
    running.rewind([items(0.7), items(0.3)])
    assert running.count == 3
    assert all(torch.equal(running.shown[name], whole.shown[name]) for name in whole.shown)


def test_names_of_the_losses_survive_the_loss_of_every_batch() -> None:
    running = RunningLoss()
    running.add(items(3.0))
    running.rewind([])
    assert (running.count, running.as_floats()) == (0, {"box": 0.0, "cls": 0.0})
