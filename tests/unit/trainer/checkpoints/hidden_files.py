"""Checkpoints that hold something else than a look at their weights says, generated. Nothing of them is ever loaded."""

from __future__ import annotations

import collections
import copyreg
import io
import struct
import types
import zipfile
import zlib
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, Final

import numpy as np
import torch
from torch import nn
from torch._tensor import _rebuild_from_type_v2
from torch._utils import _rebuild_parameter_with_state, _rebuild_tensor_v2

from tests.unit.trainer.checkpoints.making import checkpoint_dict

NAN = float("nan")
Change = Callable[[dict[str, Any]], None]
Make = Callable[[Path], None]


class Rebuilt:
    """Pickles as a call, with a state where one is given."""

    def __init__(self, function: Any, args: tuple[Any, ...], *state: Any) -> None:
        self.parts = (function, args, *state)

    def __reduce__(self) -> tuple[Any, ...]:
        return self.parts


def instance(kind: type, *args: Any) -> Any:
    """Stands for :func:`copyreg.__newobj__`, which pickle writes of its own accord only for what it has checked."""
    return kind.__new__(kind, *args)


INSTANCE: Final = f"c{instance.__module__}\ninstance\n".encode()


def hidden_files() -> Iterator[tuple[str, Make]]:
    """Name and maker of each: no one of them may be called clean."""
    for name, change in [*_rebuilt_otherwise(), *_seen_elsewhere(), *_dicts_of_another_making(), *_beside()]:
        yield name, _saved(change)
    yield (
        "a storage under other capitals",
        _with(lambda entries: {**entries, "DATA/1": b"\xff" * len(entries["data/1"])}),
    )
    yield "a pickle under other capitals", _with(lambda entries: {**entries, "Data.pkl": b"\x80\x02N."})
    yield "a version from the future", _with(lambda entries: entries, version=b"99")
    yield "two types of one storage", _with(lambda entries: _told_before(entries, "ShortStorage", 216))
    yield "two lengths of one storage", _with(lambda entries: _told_before(entries, "HalfStorage", 8))
    yield "a module built twice", _with(_built_twice)
    yield (
        "a way through of another class",
        _saved(lambda content: setattr(content["ema"], "forward", nn.Flatten.forward)),
    )


def written(path: Path, entries: dict[str, bytes]) -> None:
    """``path`` holds ``entries`` as torch writes them."""
    writer = torch._C.PyTorchFileWriter(str(path))
    for name, content in entries.items():
        writer.write_record(name, content, len(content))
    writer.write_end_of_file()


def entries_of(content: Any) -> dict[str, bytes]:
    """What ``torch.save`` writes, without what it adds of itself."""
    stream = io.BytesIO()
    torch.save(content, stream)
    with zipfile.ZipFile(stream) as archive:
        entries = {info.filename.partition("/")[2]: archive.read(info) for info in archive.infolist()}
    entries["data.pkl"] = entries["data.pkl"].replace(INSTANCE, b"ccopyreg\n__newobj__\n")
    return {name: held for name, held in entries.items() if name not in {"version", ".data/serialization_id"}}


def _saved(change: Change) -> Make:
    def make(path: Path) -> None:
        content = checkpoint_dict()
        change(content)
        written(path, entries_of(content))

    return make


def _with(change: Callable[[dict[str, bytes]], dict[str, bytes]], version: bytes = b"") -> Make:
    def make(path: Path) -> None:
        written(path, change(entries_of(checkpoint_dict())))
        if version:
            with zipfile.ZipFile(path) as archive:
                info = next(one for one in archive.infolist() if one.filename.endswith("/version"))
                old = archive.read(info)
            content = path.read_bytes().replace(old + b"PK\7\10", version + b"PK\7\10")
            path.write_bytes(content.replace(struct.pack("<I", info.CRC), struct.pack("<I", zlib.crc32(version))))

    return make


def _told_before(entries: dict[str, bytes], kind: str, num_items: int) -> dict[str, bytes]:
    """A reference to the first storage that nothing uses; torch takes its word for the others."""
    words = [b"X" + struct.pack("<I", len(word)) + word for word in (b"storage", b"0", b"cpu")]
    reference = (
        b"(" + words[0] + f"ctorch\n{kind}\n".encode() + words[1] + words[2] + b"M" + struct.pack("<H", num_items)
    )
    return {**entries, "data.pkl": b"\x80\x02" + reference + b"tQ0" + entries["data.pkl"][2:]}


def _built_twice(entries: dict[str, bytes]) -> dict[str, bytes]:
    """The first module that is whole gets another state, which torch adds to the one that it has."""
    pickled = entries["data.pkl"]
    at = pickled.index(b"ub") + 2
    return {**entries, "data.pkl": pickled[:at] + b"}X\x04\x00\x00\x00moreNsb" + pickled[at:]}


def _buffer(value: Any, name: str = "running_var") -> Change:
    def change(content: dict[str, Any]) -> None:
        content["ema"].second.bn._buffers[name] = value

    return change


def _parameter(value: Any) -> Change:
    def change(content: dict[str, Any]) -> None:
        content["ema"].second.conv._parameters["weight"] = value

    return change


def _parts_of(tensor: torch.Tensor) -> tuple[Any, ...]:
    return tensor._typed_storage(), 0, tuple(tensor.shape), tensor.stride(), False, collections.OrderedDict()


def _fine() -> torch.Tensor:
    return torch.rand(8).half() + 0.5


def _negative() -> torch.Tensor:
    return torch.cat([torch.rand(7) + 0.5, torch.tensor([-1.0])]).half()


def _rebuilt_otherwise() -> Iterator[tuple[str, Change]]:
    nans, hooks = torch.full((8,), NAN).half(), collections.OrderedDict()  # type: ignore[var-annotated]
    fine = _parts_of(_fine())
    weight, zeros = torch.randn(8, 8, 3, 3).half(), torch.zeros(8, 8, 3, 3).half()
    yield "a tensor set to another storage", _buffer(Rebuilt(_rebuild_tensor_v2, fine, _parts_of(nans)[:4]))
    yield "a tensor with other data", _buffer(Rebuilt(_rebuild_tensor_v2, fine, (nans, None, hooks, False, None)))
    yield (
        "a parameter with other data",
        _parameter(Rebuilt(_rebuild_parameter_with_state, (weight, True, hooks, {"data": zeros}))),
    )
    yield (
        "a tensor of a kind with other data",
        _buffer(Rebuilt(_rebuild_from_type_v2, (_rebuild_tensor_v2, torch.Tensor, fine, {"data": nans}))),
    )
    yield (
        "a tensor of a kind with other data in a slot",
        _buffer(Rebuilt(_rebuild_from_type_v2, (_rebuild_tensor_v2, torch.Tensor, fine, (None, {"data": nans})))),
    )
    yield "a negated variance", _buffer(Rebuilt(_rebuild_tensor_v2, (*fine, {"neg": True})))
    yield "a parameter made as an instance", _parameter(Rebuilt(instance, (nn.Parameter, zeros, False)))
    yield "filters laid over one", _parameter(nn.Parameter(weight[:1].expand(8, 8, 3, 3), requires_grad=False))


def _seen_elsewhere() -> Iterator[tuple[str, Change]]:
    def before(name: str, take: Callable[[dict[str, Any]], Any], spoil: Change) -> Change:
        def change(content: dict[str, Any]) -> None:
            spoil(content)
            told = {name: [take(content)], **content}
            content.clear()
            content.update(told)

        return change

    def as_attribute(content: dict[str, Any]) -> None:
        zeros = torch.zeros(8, 8, 3, 3).half()
        _parameter(zeros)(content)
        attributes = content["ema"].__dict__
        told = {"cache": [zeros, content["ema"].second.conv], **attributes}
        attributes.clear()
        attributes.update(told)

    def both(content: dict[str, Any]) -> None:
        shared = torch.randn(8).half()
        _buffer(shared, "running_mean")(content)
        _buffer(shared)(content)

    variance = _buffer(_negative())
    yield (
        "a variance that hangs elsewhere",
        before("git", lambda content: content["ema"].second.bn.running_var, variance),
    )
    yield "a layer that hangs elsewhere", before("git", lambda content: content["ema"].second.bn, variance)
    yield (
        "a layer's buffers that hang elsewhere",
        before("git", lambda content: content["ema"].second.bn._buffers, variance),
    )
    yield "a weight that is an attribute too", as_attribute
    yield "a variance that is the mean", both


def _dicts_of_another_making() -> Iterator[tuple[str, Change]]:
    def remade(make: Callable[[dict[str, Any]], Any], slot: str = "_buffers") -> Change:
        def change(content: dict[str, Any]) -> None:
            _buffer(_negative())(content)
            module = content["ema"] if slot == "_modules" else content["ema"].second.bn
            module.__dict__[slot] = make(dict(getattr(module, slot)))

        return change

    def items(kind: type) -> Callable[[dict[str, Any]], Any]:
        return lambda held: Rebuilt(kind, ([*held.items()],))

    reconstructor: Any = copyreg._reconstructor  # type: ignore[attr-defined]
    for slot in ("_buffers", "_modules"):
        yield f"{slot} of a dict that is called", remade(items(dict), slot)
        yield f"{slot} of an ordered dict that is called", remade(items(collections.OrderedDict), slot)
        yield f"{slot} of a default dict", remade(lambda held: collections.defaultdict(dict, held), slot)
        yield f"{slot} of a counter", remade(lambda held: Rebuilt(collections.Counter, (held,)), slot)
        yield (
            f"{slot} of a dict that is reconstructed",
            remade(lambda held: Rebuilt(reconstructor, (collections.OrderedDict, dict, held)), slot),
        )
        yield f"{slot} of a list", remade(lambda held: [*held.values()], slot)
    yield "a layer with its state in slots", _layer(lambda old: Rebuilt(instance, (type(old),), (None, old.__dict__)))
    yield (
        "a layer with more in it",
        _layer(
            lambda old: Rebuilt(instance, (nn.Sequential,), old.__dict__, None, iter([(0, nn.BatchNorm2d(8, eps=NAN))]))
        ),
    )
    yield (
        "a layer that goes another way",
        _layer(lambda old: vars(old).__setitem__("forward", torch.nn.functional.relu) or old),
    )
    for gone in ("running_var", "running_mean"):
        yield f"a batch norm without {gone}", _layer(lambda old, gone=gone: old._buffers.pop(gone) is None or old)
    yield "a batch norm without buffers", _layer(lambda old: vars(old).pop("_buffers") is None or old)
    for eps in (torch.tensor(-1.0), np.array(NAN), (1e-5,)):
        yield f"an eps that is {eps!r}", _layer(lambda old, eps=eps: setattr(old, "eps", eps) or old)
    yield "a convolution that reaches nowhere", lambda content: setattr(content["ema"].second.conv, "dilation", (0, 0))
    yield "a convolution in a wide margin", lambda content: setattr(content["ema"].second.conv, "padding", (10**9, 0))


def _layer(make: Callable[[Any], Any]) -> Change:
    def change(content: dict[str, Any]) -> None:
        modules = content["ema"].second._modules
        modules["bn"] = make(modules["bn"])

    return change


def _beside() -> Iterator[tuple[str, Change]]:
    ordered = collections.OrderedDict
    yield "arguments in a namespace", _top("train_args", types.SimpleNamespace(lr0=NAN))
    for value in ([[NAN]], np.array([NAN]), {"a": {"b": NAN}}, complex(NAN, 0)):
        yield f"an argument that is {value!r}", _top("train_args", {"lr0": value})
        yield f"a metric that is {value!r}", _top("train_metrics", {"val/box_loss": value})
        yield f"a best fitness of {value!r}", _top("best_fitness", value)
    yield "metrics in a list", _top("train_metrics", [NAN])
    yield "metrics in a counter", _top("train_metrics", Rebuilt(collections.Counter, ({"val/box_loss": NAN},)))
    yield "metrics in an ordered dict that is called", _top("train_metrics", Rebuilt(ordered, ([("val/box", NAN)],)))
    yield "a best fitness in words", _top("best_fitness", "0.5")
    yield "early stopping in a namespace", _top("stopper", types.SimpleNamespace(best_fitness=NAN))
    yield "early stopping at a fitness in words", _top("stopper", {"best_fitness": "0.5", "best_epoch": 1})
    yield "early stopping without an end", _top("stopper", {"best_fitness": 0.5, "best_epoch": 1, "patience": NAN})
    yield "a scaler in an ordered dict that is called", _top("scaler", Rebuilt(ordered, ([("scale", NAN)],)))
    yield "a scaler in a list", _top("scaler", [65536.0])
    yield "a group in an ordered dict that is called", _group
    yield "a setting of a hundred parts", lambda content: content["optimizer"]["param_groups"][0].update(lr=[0.1] * 100)


def _group(content: dict[str, Any]) -> None:
    groups = content["optimizer"]["param_groups"]
    groups.append(Rebuilt(collections.OrderedDict, ([*{**groups[0], "lr": NAN}.items()],)))


def _top(key: str, value: Any) -> Change:
    def change(content: dict[str, Any]) -> None:
        content[key] = value

    return change
