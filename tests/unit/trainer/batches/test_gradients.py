from __future__ import annotations

import math

import pytest
import torch
from torch import nn

from trainmaster.trainer.batches.gradients import Gradients, all_finite
from trainmaster.trainer.batches.healing import heal_optimizer

FINE = torch.zeros(())


def trained_once() -> tuple[nn.Module, torch.optim.Optimizer]:
    torch.manual_seed(0)
    model = nn.Sequential(nn.Linear(4, 8), nn.ReLU(), nn.Linear(8, 2))
    optimizer = torch.optim.SGD(model.parameters(), lr=0.1, momentum=0.9)
    model(torch.randn(3, 4)).square().sum().backward()
    optimizer.step()
    return model, optimizer


@pytest.mark.parametrize("max_norm", [0.01, 1e9], ids=["clipped", "not clipped"])
def test_norm_and_clipping_are_those_of_torch_bit_for_bit(max_norm: float) -> None:
    model, optimizer = trained_once()
    twin = [parameter.grad.clone() for parameter in model.parameters()]
    gradients = Gradients(model, optimizer)

    measured = gradients.measure(FINE, states=True)
    clipped = gradients.clip(measured.norm, max_norm)

    parameters = [nn.Parameter(torch.zeros_like(grad)) for grad in twin]
    for parameter, grad in zip(parameters, twin, strict=True):
        parameter.grad = grad
    assert measured.norm == float(torch.nn.utils.clip_grad_norm_(parameters, max_norm))
    assert clipped == (max_norm == 0.01)
    assert gradients.clipped == int(clipped)
    for mine, theirs in zip(model.parameters(), parameters, strict=True):
        assert torch.equal(mine.grad, theirs.grad)


@pytest.mark.parametrize("value", [math.nan, math.inf])
def test_a_gradient_that_is_not_finite_is_seen_and_its_parameter_named(value: float) -> None:
    model, optimizer = trained_once()
    model[2].bias.grad[0] = value
    gradients = Gradients(model, optimizer)

    assert not gradients.measure(FINE, states=False).finite
    assert gradients.worst(1)[0][0] == "2.bias"


def test_a_layer_that_is_thawed_later_is_measured_and_clipped_with_the_rest() -> None:
    model, optimizer = trained_once()
    model[0].requires_grad_(False)
    gradients = Gradients(model, optimizer)
    model[0].requires_grad_(True)
    model(torch.randn(3, 4)).square().sum().backward()
    whole = float(torch.nn.utils.get_total_norm(parameter.grad for parameter in model.parameters()))

    assert gradients.measure(FINE, states=True).norm == whole
    gradients.clip(whole, whole / 2)
    halved = torch.nn.utils.get_total_norm(parameter.grad for parameter in model.parameters())
    assert float(halved) == pytest.approx(whole / 2, rel=1e-4)


def test_each_part_of_the_state_is_told_apart() -> None:
    model, optimizer = trained_once()
    gradients = Gradients(model, optimizer)
    healthy = gradients.measure(FINE, states=True)
    assert (healthy.finite, healthy.statistics_finite, healthy.optimizer_finite) == (True, True, True)

    optimizer.state[model[0].weight]["momentum_buffer"][0, 0] = math.nan
    sick = gradients.measure(torch.tensor(math.nan), states=True)
    assert (sick.finite, sick.statistics_finite, sick.optimizer_finite) == (True, False, False)


def test_a_large_but_finite_momentum_is_not_healed() -> None:
    model, optimizer = trained_once()
    momentum = optimizer.state[model[0].weight]["momentum_buffer"]
    momentum.fill_(1e30)
    assert not Gradients(model, optimizer).measure(FINE, states=True).optimizer_finite
    assert heal_optimizer(optimizer) == 0
    assert bool((momentum == 1e30).all())


def test_healing_starts_a_parameter_s_state_over_and_leaves_the_others() -> None:
    model, optimizer = trained_once()
    bad, other = optimizer.state[model[0].weight], optimizer.state[model[2].weight]
    bad["momentum_buffer"][0, 0] = math.inf
    before = other["momentum_buffer"].clone()

    assert heal_optimizer(optimizer) == 1

    assert not bad["momentum_buffer"].any()
    assert torch.equal(other["momentum_buffer"], before)
    assert heal_optimizer(optimizer) == 0


def test_the_worst_layer_of_a_stretch_is_that_of_its_largest_norm() -> None:
    model, optimizer = trained_once()
    gradients = Gradients(model, optimizer)
    for scale, worst in ((1.0, 0), (50.0, 2), (2.0, 0)):
        for parameter in model.parameters():
            parameter.grad = torch.full_like(parameter, 0.01)
        model[worst].weight.grad = torch.full_like(model[worst].weight, scale)
        gradients.note(gradients.measure(FINE, states=False).norm)
    found = gradients.worst_since()
    assert found is not None
    assert (found[0], round(found[1])) == ("2.weight", 200)
    assert gradients.worst_since() is None
    assert gradients.worst(1)[0][0] == "0.weight"


def test_finiteness_of_many_tensors_is_told_as_one() -> None:
    tensors = [torch.ones(3), torch.tensor([1, 2]), torch.ones(2, dtype=torch.float16), torch.ones(0)]
    assert all_finite(tensors)
    assert not all_finite([*tensors, torch.tensor([math.nan])])
