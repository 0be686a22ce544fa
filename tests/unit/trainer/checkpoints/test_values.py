from __future__ import annotations

import struct

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from trainmaster.trainer.checkpoints import values
from trainmaster.trainer.checkpoints.domains import Domain
from trainmaster.trainer.checkpoints.values import (
    BF16,
    F16,
    F32,
    F64,
    Content,
    FloatFormat,
    look_plainly,
    look_with_numpy,
    numbers,
)

DTYPES = {F16: torch.float16, BF16: torch.bfloat16, F32: torch.float32, F64: torch.float64}
FORMATS = pytest.mark.parametrize("form", DTYPES, ids=lambda form: form.name)
LOOKS = pytest.mark.parametrize(
    "look",
    [look_plainly, lambda *given: look_with_numpy(np, *given)],
    ids=["standard library", "numpy"],
)


def bits_of(tensor: torch.Tensor) -> memoryview:
    return memoryview(tensor.contiguous().view(torch.uint8).numpy().tobytes())


@FORMATS
@LOOKS
@pytest.mark.parametrize(
    ("numbers_in", "expected"),
    [
        ([0.0, 1.0, -2.5], Content(finite=True, zero=False, at_limit=False)),
        ([0.0, -0.0], Content(finite=True, zero=True, at_limit=False)),
        ([1e-7, 0.0], Content(finite=True, zero=False, at_limit=False)),
        ([1.0, float("nan")], Content(finite=False, zero=False, at_limit=False)),
        ([float("inf"), 0.0], Content(finite=False, zero=False, at_limit=False)),
        ([0.0, float("-inf")], Content(finite=False, zero=False, at_limit=False)),
        (["max", 1.0], Content(finite=True, zero=False, at_limit=True)),
        (["-max", float("nan")], Content(finite=False, zero=False, at_limit=False)),
        ([60000.0], Content(finite=True, zero=False, at_limit=False)),
        ([], Content(finite=True, zero=False, at_limit=False)),
    ],
    ids=["ordinary", "zeros of both signs", "tiny", "nan", "inf", "-inf", "limit", "limit and nan", "large", "empty"],
)
def test_numbers_are_told_from_their_bits(form: FloatFormat, look, numbers_in: list, expected: Content) -> None:
    limit = torch.finfo(DTYPES[form]).max
    numbers_in = [{"max": limit, "-max": -limit}.get(number, number) for number in numbers_in]
    assert look(bits_of(torch.tensor(numbers_in, dtype=DTYPES[form])), form) == expected


@FORMATS
@LOOKS
@pytest.mark.parametrize("place", [0, -1], ids=["first", "last"])
def test_a_single_bad_number_is_found_across_pieces(form: FloatFormat, look, place: int) -> None:
    count = 2 * values.CHUNK_BYTES // form.num_bytes + 3
    tensor = torch.zeros(count, dtype=DTYPES[form])
    assert look(bits_of(tensor), form).zero
    tensor[place] = float("nan")
    assert not look(bits_of(tensor), form).finite
    tensor[place] = 1.0
    assert look(bits_of(tensor), form) == Content(finite=True, zero=False, at_limit=False)


@FORMATS
@given(content=st.binary(max_size=400))
@settings(max_examples=150)
def test_any_bits_are_judged_as_torch_judges_them(form: FloatFormat, content: bytes) -> None:
    whole = content[: len(content) // form.num_bytes * form.num_bytes]
    view = memoryview(whole)
    tensor = torch.frombuffer(bytearray(whole), dtype=DTYPES[form]) if whole else torch.empty(0)
    expected_finite = bool(torch.isfinite(tensor).all())
    for found in (look_plainly(view, form), look_with_numpy(np, view, form)):
        assert found.finite is expected_finite
        assert found.zero is (bool(whole) and not bool(tensor.count_nonzero()))
    assert look_plainly(view, form) == look_with_numpy(np, view, form)


@FORMATS
def test_numbers_are_read_one_by_one(form: FloatFormat) -> None:
    tensor = torch.tensor([0.0, 1.5, -2.0], dtype=DTYPES[form])
    assert list(numbers(bits_of(tensor), form)) == [0.0, 1.5, -2.0]


def test_bfloat16_keeps_its_range() -> None:
    assert list(numbers(memoryview(struct.pack("<H", 0x7F80)), BF16)) == [float("inf")]


@FORMATS
@LOOKS
@pytest.mark.parametrize(
    ("numbers_in", "exploded", "negative"),
    [
        ([0.0, -0.0, 100.0], False, False),
        ([1.0, -1e-3], False, True),
        ([1.0, 101.0], True, False),
        ([-200.0, 0.0], True, True),
        ([float("nan"), -200.0], False, False),
    ],
    ids=["within", "below zero", "beyond", "beyond and below zero", "not finite"],
)
def test_a_domain_is_measured(
    form: FloatFormat, look, numbers_in: list[float], *, exploded: bool, negative: bool
) -> None:
    domain = Domain(largest=100.0, nonnegative=True)
    found = look(bits_of(torch.tensor(numbers_in, dtype=DTYPES[form])), form, domain)
    assert (found.exploded, found.negative) == (exploded, negative)


@FORMATS
@given(content=st.binary(max_size=400), largest=st.floats(1e-3, 1e12))
@settings(max_examples=100)
def test_any_bits_are_measured_as_torch_measures_them(form: FloatFormat, content: bytes, largest: float) -> None:
    whole = content[: len(content) // form.num_bytes * form.num_bytes]
    view, domain = memoryview(whole), Domain(largest=largest, nonnegative=True)
    tensor = torch.frombuffer(bytearray(whole), dtype=DTYPES[form]).double() if whole else torch.empty(0)
    finite = bool(torch.isfinite(tensor).all())
    for found in (look_plainly(view, form, domain), look_with_numpy(np, view, form, domain)):
        assert found.exploded is (finite and bool((tensor.abs() > largest).any()))
        assert found.negative is (finite and bool((tensor < 0).any()))
