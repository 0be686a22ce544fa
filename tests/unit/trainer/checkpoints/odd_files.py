"""Two hundred and more kinds of odd checkpoint, generated: what spoils one number, for every place and every number."""

from __future__ import annotations

import io
import zipfile
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, Final

import numpy as np
import torch

from tests.unit.trainer.checkpoints.making import checkpoint_dict, small_model, stepped_optimizer

NAN, INF = float("nan"), float("inf")
Change = Callable[[dict[str, Any]], None]
Make = Callable[[Path], None]

NUMBERS: Final = {"nan": NAN, "inf": INF, "-inf": -INF}
TENSORS: Final = tuple(small_model().state_dict())
ARRAYS: Final = {
    "a few numbers": np.array([1.0, NAN]),
    "the other end first": np.array([1.0, NAN], ">f4"),
    "complex": np.array([1.0, complex(0.0, NAN)]),
    "objects": np.array([1.0, NAN], object),
    "very many": np.append(np.ones(200_000), NAN),
}
ADAM: Final = ("exp_avg", "exp_avg_sq", "step")


def odd_files() -> Iterator[tuple[str, Make]]:
    """Name and maker of each: no one of them may be called clean."""
    for name, change in [*_in_weights(), *_in_settings(), *_in_numbers_beside()]:
        yield name, _saved(change)
    yield from _states()
    yield from _damaged()


def _saved(change: Change) -> Make:
    def make(path: Path) -> None:
        content = checkpoint_dict()
        change(content)
        torch.save(content, path)

    return make


def _put(name: str, value: float, place: int) -> Change:
    def change(content: dict[str, Any]) -> None:
        content["ema"].state_dict()[name].view(-1)[place] = value

    return change


def _fill(name: str, value: float) -> Change:
    def change(content: dict[str, Any]) -> None:
        content["ema"].state_dict()[name].fill_(value)

    return change


def _in_weights() -> Iterator[tuple[str, Change]]:
    for name in TENSORS:
        if name.endswith("num_batches_tracked"):
            for value in (-1, -(2**62), 2**62):
                yield f"{name} is {value}", _fill(name, value)
            continue
        for label, value in NUMBERS.items():
            for place in (0, -1):
                yield f"{label} at {place} of {name}", _put(name, value, place)
        yield f"{name} exploded", _put(name, 60_000.0 if "running_var" not in name else 65_504.0, 0)
        if name.endswith("running_var"):
            for value in (-1.0, -6e-8, -60_000.0):
                yield f"{name} has {value}", _put(name, value, 3)
            yield f"{name} all below zero", _fill(name, -0.5)
            yield f"{name} all zero", _fill(name, 0.0)
        if name.endswith(("running_var", "running_mean")) or (name.endswith("weight") and "bn" not in name):
            yield f"{name} constant", _fill(name, 0.25)
    for bits, dtype in (("bfloat16", torch.bfloat16), ("float32", torch.float32), ("float64", torch.float64)):
        for label, value in (*NUMBERS.items(), ("-1", -1.0)):
            yield f"{label} in a variance in {bits}", _cast(dtype, "second.bn.running_var", value)
        yield f"exploded in {bits}", _cast(dtype, "second.conv.weight", 1e30)
        yield f"exploded statistics in {bits}", _cast(dtype, "second.bn.running_mean", 3e16)
    for dtype in (torch.int8, torch.int32, torch.int64, torch.uint8, torch.float8_e4m3fn, torch.complex64):
        yield f"weights as {dtype}", _retyped(dtype)
    for name in ("attention.in_proj_weight", "recurrent.weight_ih_l0"):
        for value in (0.0, 0.25):
            yield f"{name} is {value}", _inside(_fill(name, value))
        yield f"{name} exploded", _inside(_put(name, 60_000.0, 0))
    yield "a projection's bias exploded", _inside(_put("attention.in_proj_bias", 60_000.0, 0))
    yield "weights laid over one number", _expanded
    yield "all filters the same", _all_filters_the_same
    yield "bins that were trained", _with_bins
    yield "a channel of zeros", _blank_channel(("conv.weight", "bn.weight", "bn.bias", "bn.running_mean"))
    yield "a norm's channel of zeros", _blank_channel(("bn.weight", "bn.bias", "bn.running_mean"))
    yield "a logarithm without an exponential", _buffer("logit_scale", [90.0])
    yield "a layer's scale exploded", _buffer("gamma", [0.1, 60_000.0])
    yield "places that exploded", _buffer("pos_embed", [0.1, -60_000.0])
    yield "a mask of infinities", _buffer("mask", [1.0, -INF])
    yield "a buffer with a nan", _buffer("mask", [-INF, NAN])
    yield "a float for weights", _parameter(0.5)
    yield "an array of NumPy for weights", _parameter(np.ones((4, 8)))
    yield "an eps in words", _eps("1e-5")
    yield "an eps of None", _eps(None)
    yield "a variance of another length", _of_other_length
    yield "a convolution of another shape", _of_other_shape
    yield "a convolution of no numbers", _emptied
    yield "a layer that is None", _without("second", None)
    yield "a layer that does nothing", _without("second", torch.nn.Identity())
    yield "no layers", _no_layers
    for label, held in ARRAYS.items():
        yield f"an array of NumPy with a NaN, {label}", _attribute("class_weights", {"all": [held]})


def with_inner_weights(content: dict[str, Any]) -> None:
    """An attention and a recurrent layer, whose weights are called otherwise than those of others."""
    content["ema"].attention = torch.nn.MultiheadAttention(8, 2).half()
    content["ema"].recurrent = torch.nn.LSTM(8, 4).half()


def _inside(spoil: Change) -> Change:
    def change(content: dict[str, Any]) -> None:
        with_inner_weights(content)
        with torch.no_grad():
            spoil(content)

    return change


def _cast(dtype: torch.dtype, name: str, value: float) -> Change:
    def change(content: dict[str, Any]) -> None:
        content["ema"] = content["ema"].to(dtype)
        _put(name, value, 1)(content)

    return change


def _retyped(dtype: torch.dtype) -> Change:
    def change(content: dict[str, Any]) -> None:
        layer = content["ema"].first.conv
        layer._parameters["weight"] = torch.nn.Parameter(layer.weight.data.to(dtype), requires_grad=False)

    return change


def _expanded(content: dict[str, Any]) -> None:
    layer = content["ema"].second.conv
    layer.weight = torch.nn.Parameter(torch.tensor([0.5]).half().expand(8, 8, 3, 3))


def _all_filters_the_same(content: dict[str, Any]) -> None:
    weight = content["ema"].second.conv.weight.data
    weight.copy_(weight[:1].clone().expand_as(weight))


def _with_bins(content: dict[str, Any]) -> None:
    content["ema"].dfl = torch.nn.Module()
    content["ema"].dfl.conv = torch.nn.Conv2d(16, 1, 1, bias=False).half()


def _of_other_length(content: dict[str, Any]) -> None:
    content["ema"].second.bn._buffers["running_var"] = torch.rand(3).half() + 0.5


def _of_other_shape(content: dict[str, Any]) -> None:
    content["ema"].second.conv._parameters["weight"] = torch.nn.Parameter(torch.randn(8, 4, 3, 3).half())


def _emptied(content: dict[str, Any]) -> None:
    content["ema"].second.conv._parameters["weight"] = torch.nn.Parameter(torch.empty(0).half())


def _without(name: str, instead: Any) -> Change:
    def change(content: dict[str, Any]) -> None:
        content["ema"]._modules[name] = instead

    return change


def _blank_channel(names: tuple[str, ...]) -> Change:
    def change(content: dict[str, Any]) -> None:
        for name in names:
            content["ema"].state_dict()[f"second.{name}"][2] = 0.0

    return change


def _buffer(name: str, numbers: list[float]) -> Change:
    def change(content: dict[str, Any]) -> None:
        content["ema"].register_buffer(name, torch.tensor(numbers).half())

    return change


def _parameter(value: Any) -> Change:
    def change(content: dict[str, Any]) -> None:
        content["ema"].head._parameters["weight"] = value

    return change


def _eps(value: Any) -> Change:
    def change(content: dict[str, Any]) -> None:
        content["ema"].first.bn.eps = value

    return change


def _no_layers(content: dict[str, Any]) -> None:
    content["ema"]._modules.clear()


def _attribute(name: str, value: Any) -> Change:
    def change(content: dict[str, Any]) -> None:
        setattr(content["ema"].first, name, value)

    return change


def _group(key: str, value: Any) -> Change:
    def change(content: dict[str, Any]) -> None:
        content["optimizer"]["param_groups"][0][key] = value

    return change


def _in_settings() -> Iterator[tuple[str, Change]]:
    kinds: dict[str, Callable[[float], Any]] = {
        "float": float,
        "numpy float64": np.float64,
        "numpy float32": np.float32,
        "numpy float16": np.float16,
        "tensor": torch.tensor,
        "tensor of one": lambda value: torch.tensor([value], dtype=torch.float64),
    }
    for kind, make in kinds.items():
        for key in ("lr", "momentum", "weight_decay", "eps", "dampening"):
            yield f"{key} is nan as {kind}", _group(key, make(NAN))
        yield f"lr is inf as {kind}", _group("lr", make(INF))
        yield f"lr is below zero as {kind}", _group("lr", make(-0.5))
        yield f"a beta is nan as {kind}", _group("betas", (0.9, make(NAN)))
        yield f"a beta is 1 as {kind}", _group("betas", (make(1.0), 0.999))
    yield "lr is a thousand", _group("lr", 1e3)
    yield "betas are none", _group("betas", ())


def _top(key: str, value: Any) -> Change:
    def change(content: dict[str, Any]) -> None:
        content[key] = value

    return change


def _in_numbers_beside() -> Iterator[tuple[str, Change]]:
    for value in (NAN, 0.0, -1.0, INF, 0, np.float64(NAN), torch.tensor(NAN)):
        yield f"the scaler's scale is {value!r}", _top("scaler", {"scale": value, "growth_factor": 2.0})
    yield "the scaler's scale is a text", _top("scaler", {"scale": "65536"})
    yield "the scaler's tracker is nan", _top("scaler", {"scale": 65536.0, "_growth_tracker": NAN})
    yield "a rate is missing", lambda content: content["optimizer"]["param_groups"][0].pop("lr")
    yield "a momentum of another shape", _momentum_of_other_shape
    for key, value in (("growth_factor", 0.5), ("backoff_factor", 2), ("growth_interval", -1)):
        yield f"the scaler's {key} is {value}", _top("scaler", {"scale": 65536.0, key: value})
    yield "the scaler's factor is nan", _top("scaler", {"scale": 65536.0, "backoff_factor": NAN})
    for value in (NAN, INF, np.float64(NAN), torch.tensor(NAN)):
        yield f"the best fitness is {value!r}", _top("best_fitness", value)
        yield f"updates are {value!r}", _top("updates", value)
    yield "updates are below zero", _top("updates", -5)
    yield "updates are None", _top("updates", None)
    yield "the scaler's scale is nothing in half precision", _top("scaler", {"scale": 1e-30})
    yield "the scaler's scale is nothing in float32", _top("scaler", {"scale": 1e-300})
    for key, value in (("lr0", NAN), ("lrf", np.float64(NAN)), ("box", INF), ("momentum", -1.0), ("lr0", 1e6)):
        yield f"the argument {key} is {value!r}", _top("train_args", {key: value})
    for key in ("val/box_loss", "fitness"):
        for value in (NAN, np.float64(NAN), np.float32(INF), "nan"):
            yield f"{key} is {value!r}", _metric(key, value)
    for value in (None, {}, "weights", 0):
        yield f"the EMA is {value!r}", _top("ema", value)
        yield f"the optimizer is {value!r}", _top("optimizer", value)
    for value in (None, -1, "3", 1.5, 10**30):
        yield f"the epoch is {value!r}", _top("epoch", value)


def _momentum_of_other_shape(content: dict[str, Any]) -> None:
    content["optimizer"]["state"][0]["momentum_buffer"] = torch.zeros(3).half()


def _metric(key: str, value: Any) -> Change:
    def change(content: dict[str, Any]) -> None:
        content["train_metrics"][key] = value

    return change


def _states() -> Iterator[tuple[str, Make]]:
    for key in ADAM:
        for label, value in (*NUMBERS.items(), ("-1", -1.0)):
            if (key, label) != ("exp_avg", "-1"):
                yield f"{key} of Adam has {label}", _state(key, value)
    yield "a momentum of 1e30", _state("exp_avg", 1e30)


def _state(key: str, value: float) -> Make:
    def make(path: Path) -> None:
        model = small_model()
        stepped_optimizer(model)
        optimizer = torch.optim.Adam(model.parameters())
        model(torch.randn(4, 3, 16, 16)).square().mean().backward()
        optimizer.step()
        optimizer.state[model.head.weight][key].view(-1)[0] = value
        tensors = model.state_dict()
        state = {"format": "trainmaster-state", "epoch": 1, "model": tensors, "ema": tensors, "scaler": {}}
        torch.save({**state, "optimizer": optimizer.state_dict()}, path)

    return make


def _damaged() -> Iterator[tuple[str, Make]]:
    for share in (0.0, 0.01, 0.25, 0.5, 0.75, 0.99):
        yield f"cut at {share:.0%}", _whole(lambda content, share=share: content[: int(share * len(content))])
    for place in (0.001, 0.3, 0.6, 0.95):
        yield f"zeros from {place:.0%}", _whole(lambda content, place=place: _zeroed(content, place))
    yield "twice", _whole(lambda content: content + content)
    yield "bytes before it", _whole(lambda content: bytes(64) + content)
    yield "bytes behind it", _whole(lambda content: content + bytes(64))
    yield "packed anew", _whole(lambda content: _packed(content, zipfile.ZIP_STORED))
    yield "compressed", _whole(lambda content: _packed(content, zipfile.ZIP_DEFLATED))
    yield "without its pickle", _whole(lambda content: _packed(content, zipfile.ZIP_STORED, without="data.pkl"))
    for protocol in range(6):
        yield f"the numbers as a bare pickle of protocol {protocol}", _pickled(protocol)


def _whole(spoil: Callable[[bytes], bytes]) -> Make:
    def make(path: Path) -> None:
        stream = io.BytesIO()
        torch.save(checkpoint_dict(), stream)
        path.write_bytes(spoil(stream.getvalue()))

    return make


def _zeroed(content: bytes, place: float) -> bytes:
    start = int(place * len(content))
    return content[:start] + bytes(2048) + content[start + 2048 :]


def _packed(content: bytes, method: int, without: str = "") -> bytes:
    stream = io.BytesIO()
    with zipfile.ZipFile(io.BytesIO(content)) as old, zipfile.ZipFile(stream, "w", method) as new:
        for info in old.infolist():
            if not without or not info.filename.endswith(without):
                new.writestr(info.filename, old.read(info))
    return stream.getvalue()


def _pickled(protocol: int) -> Make:
    def make(path: Path) -> None:
        import pickle

        path.write_bytes(pickle.dumps({"model": {"weight": [0.5, NAN]}}, protocol=protocol))

    return make
