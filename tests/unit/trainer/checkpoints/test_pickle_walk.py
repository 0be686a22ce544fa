from __future__ import annotations

import argparse
import collections
import contextlib
import datetime
import decimal
import fractions
import functools
import io
import logging
import operator
import os
import pickle
import random
import re
import subprocess
import sys
import types
import uuid
from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from trainmaster.trainer.checkpoints.named_code import code_in
from trainmaster.trainer.checkpoints.pickle_walk import walk
from trainmaster.trainer.checkpoints.pickled import Made, Name, Use, WalkError


class Calls:
    """Pickles as a call of anything with anything."""

    def __init__(self, function, *args) -> None:
        self.function, self.args = function, args

    def __reduce__(self):
        return self.function, self.args


PLAIN = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text() | st.binary(max_size=20),
    lambda inner: (
        st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=5), inner, max_size=4) | st.tuples(inner, inner)
    ),
    max_leaves=25,
)


@given(value=PLAIN, protocol=st.integers(2, 5))
@settings(max_examples=200)
def test_plain_data_comes_out_as_it_went_in(value: object, protocol: int) -> None:
    if protocol == 2:  # bytes are a call of _codecs.encode there
        value = repr(value)
    content = pickle.dumps(value, protocol=protocol)
    walked = walk(content)
    assert walked.value == value
    assert walked.num_bytes == len(content)


@pytest.mark.parametrize("protocol", range(6))
def test_shared_and_ordinary_containers_survive_every_protocol(protocol: int) -> None:
    shared = [1, "a", 2.5, None, True, (), (1,), (1, 2), (1, 2, 3), (1, 2, 3, 4), -5, 1 << 40, 300]
    walked = walk(pickle.dumps({"a": shared, "b": shared}, protocol=protocol)).value
    assert walked == {"a": shared, "b": shared}
    assert walked["a"] is walked["b"]


@pytest.mark.parametrize("protocol", [0, 1, 2, 4, 5])
def test_a_call_is_noted_and_not_made(protocol: int, tmp_path: Path) -> None:
    victim = tmp_path / "victim"
    content = pickle.dumps(Calls(os.system, f"touch {victim}"), protocol=protocol)
    walked = walk(content)
    assert not victim.exists()
    assert walked.uses == {Name(os.system.__module__, "system"): Use.CALLED}
    assert isinstance(walked.value, Made)
    pickle.loads(content)
    assert victim.exists(), "the pickle was harmless, so the test proves nothing"


HOSTILE = {
    "os.system": Calls(os.system, "true"),
    "subprocess": Calls(subprocess.Popen, ["true"]),
    "eval": Calls(eval, "1"),
    "exec": Calls(exec, "1"),
    "getattr": Calls(getattr, "", "join"),
    "getattr of a module": Calls(getattr, torch.nn.Flatten(), "half"),
    "a way through a class, called": Calls(torch.nn.Flatten.forward, 1),
    "what getattr gave": Calls(getattr, Calls(getattr, torch.nn.Flatten(), "forward"), "__func__"),
    "torch.load": Calls(torch.load, "x"),
    "pickle in pickle": Calls(torch.storage._load_from_bytes, b""),
    "torch.hub": Calls(torch.hub.load, "a", "b"),
    "constructor of a layer": Calls(torch.nn.Conv2d, 1, 1, 1),
    "read a file": Calls(io.open, "/etc/passwd"),
    "only named": [os.system],
    "only named, module function": [subprocess.run],
    "as a class's state": Calls(types.SimpleNamespace, [("x", os.system)]),
}


@pytest.mark.parametrize("value", HOSTILE.values(), ids=HOSTILE)
@pytest.mark.parametrize("protocol", [2, 4])
def test_hostile_names_are_told(value: object, protocol: int) -> None:
    assert code_in(walk(pickle.dumps(value, protocol=protocol)).uses).would_run


def test_dotted_name_is_not_taken_for_its_module() -> None:
    content = b"\x80\x04\x8c\x11ultralytics.utils\x8c\x09os.system\x93\x8c\x04true\x85R."
    assert code_in(walk(content).uses).would_run == ("ultralytics.utils.os.system",)


@pytest.mark.parametrize(
    "content",
    [
        b"(S'true'\nios\nsystem\n.",
        b"(cos\nsystem\nS'true'\no.",
        b"\x80\x02cos\nsystem\n(S'true'\ntR.",
        b"\x80\x02\x82\x01.",
        b"\x80\x02ccopyreg\n_reconstructor\n(cos\nsystem\nc__builtin__\nobject\nNtR.",
        b"\x80\x02ccopyreg\n_reconstructor\n(ctorch.nn.modules.conv\nConv2d\ncos\nsystem\nS'true'\ntR.",
        b"\x80\x02ctorch._utils\n_rebuild_from_type_v2\n(cos\nsystem\nNS'true'\n\x85}tR.",
        b"\x80\x02c__builtin__\nmap\n(cos\nsystem\n]S'true'\naetR."[:-1] + b".",
    ],
    ids=["INST", "OBJ", "GLOBAL REDUCE", "EXT", "reconstructor", "reconstructor base", "from_type", "map"],
)
def test_every_way_to_call_is_seen(content: bytes) -> None:
    try:
        uses = walk(content).uses
    except WalkError:
        return  # refusing to read it is as good
    assert code_in(uses).would_run


ORDINARY = {
    "ordered dict": collections.OrderedDict(a=1),
    "default dict": collections.defaultdict(list, a=[1]),
    "set": {1, 2},
    "path": Path("x"),
    "date": datetime.datetime(2026, 1, 1, tzinfo=datetime.UTC),
    "namespace": types.SimpleNamespace(a=1),
    "arguments": argparse.Namespace(a=1),
    "size": torch.Size([1]),
    "bytes": b"x",
    "layer": torch.nn.SiLU(),
    "a way through a class": torch.nn.Flatten.forward,
}


@pytest.mark.parametrize("value", ORDINARY.values(), ids=ORDINARY)
@pytest.mark.parametrize("protocol", [2, 4])
def test_ordinary_content_is_no_code(value: object, protocol: int) -> None:
    found = code_in(walk(pickle.dumps(value, protocol=protocol)).uses)
    assert found.would_run == ()
    assert found.unfamiliar == ()


@pytest.mark.parametrize(
    ("module", "name"),
    [
        ("ultralytics.yolo.utils.tal", "TaskAlignedAssigner"),
        ("ultralytics.vit.utils.loss", "RTDETRDetectionLoss"),
        ("ultralytics.models.utils.loss", "RTDETRDetectionLoss"),
        ("ultralytics.models.utils.ops", "HungarianMatcher"),
    ],
)
def test_a_criterion_that_older_ultralytics_saves_with_its_ema_is_its_own(module: str, name: str) -> None:
    found = code_in({Name(module, name): Use.MADE})
    assert (found.would_run, found.unfamiliar) == ((), ())


def test_one_of_an_enumeration_is_no_code() -> None:
    content = (
        b"\x80\x02c__builtin__\ngetattr\nctorchvision.transforms.functional\nInterpolationMode\nU\x07BICUBIC\x86R."
    )
    found = code_in(walk(content).uses)
    assert (found.would_run, found.unfamiliar) == ((), ())


@pytest.mark.parametrize(
    "value",
    [
        *(functools.partial(torch.nn.LayerNorm, eps=1e-6), logging.getLogger("layer"), re.compile("x")),
        *(decimal.Decimal("0.1"), fractions.Fraction(1, 3), uuid.UUID(int=1), operator.itemgetter(0)),
        *(random.Random(0), np.random.default_rng(0), np.random.RandomState(0), contextlib.nullcontext()),
    ],
    ids=lambda value: type(value).__name__,
)
def test_what_layers_of_peoples_own_hold_is_unfamiliar_and_no_more(value: object) -> None:
    found = code_in(walk(pickle.dumps(value, protocol=2)).uses)
    assert found.would_run == ()
    assert found.unfamiliar


def test_what_a_harmless_call_is_given_is_looked_at() -> None:
    assert code_in(walk(pickle.dumps(functools.partial(os.system, "true"), protocol=2)).uses).would_run


def test_a_class_of_somebody_is_unfamiliar_and_no_more() -> None:
    content = b"\x80\x02cmylab.blocks\nFancy\n)\x81}b."
    found = code_in(walk(content).uses)
    assert found.would_run == ()
    assert found.unfamiliar == ("mylab.blocks.Fancy",)


@pytest.mark.parametrize(
    "content",
    [
        b"",
        b"\x80\x02",
        b".",
        b"\x80\x02R.",
        b"\x80\x02t.",
        b"\x80\x02h\x05.",
        b"\x80\x02r\xff\xff\xff\xff.",
        b"\x80\x05\x8e\xff\xff\xff\xff\xff\xff\xff\x7f.",
        b"\x80\x02X\xff\xff\xff\x7fabc",
        b"\x80\x02X\x01\x00\x00\x00\xff.",
        b"\xffgarbage",
        b"\x80\x02}b.",
        b"\x80\x02}K\x01s.",
        b"\x80\x02K\x01Q.",
        b"\x80\x02ctorch._utils\n_rebuild_tensor_v2\n(K\x01K\x01K\x01K\x01tR.",
        b"I" + b"9" * 5000 + b"\n.",
    ],
    ids=lambda content: repr(content[:24]),
)
def test_a_broken_pickle_is_an_error_of_one_kind(content: bytes) -> None:
    with pytest.raises(WalkError):
        walk(content)


@given(content=st.binary(max_size=200))
@settings(max_examples=300)
def test_any_bytes_give_a_value_or_that_error(content: bytes) -> None:
    with contextlib.suppress(WalkError):
        walk(content)


def test_memo_index_of_four_billion_takes_no_memory() -> None:
    assert walk(b"\x80\x02K\x01r\xff\xff\xff\xff.").value == 1


def test_endless_nesting_does_not_overflow_the_stack() -> None:
    deep = b"\x80\x02" + b")" + b"\x85" * 200_000
    assert walk(deep + b".").num_bytes == len(deep) + 1
    assert walk(b"\x80\x02}" + deep[2:] + b"K\x01s.").value, "as a key it is hashed"


def test_nothing_that_is_named_gets_imported() -> None:
    assert "antigravity" not in sys.modules
    walk(b"\x80\x02cantigravity\nfly\n)R.")
    assert "antigravity" not in sys.modules
