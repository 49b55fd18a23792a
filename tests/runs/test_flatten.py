"""Nested state survives JSON and safetensors, to the type and the bit."""

import json
import math
from collections import OrderedDict
from typing import Any

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from quickstudy.runs.flatten import flatten, unflatten

leaves = st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=5)
keys = st.booleans() | st.integers() | st.text(max_size=3) | st.none()
trees = st.recursive(
    leaves,
    lambda inner: (
        st.lists(inner, max_size=3)
        | st.lists(inner, max_size=3).map(tuple)
        | st.dictionaries(keys, inner, max_size=3)
        | st.dictionaries(keys, inner, max_size=3).map(OrderedDict)
    ),
    max_leaves=12,
)


def through_json(tree: Any) -> Any:
    structure, tensors = flatten(tree)
    return unflatten(json.loads(json.dumps(structure, allow_nan=False)), tensors)


def same(a: Any, b: Any) -> bool:
    """Equal in type and value all the way down; NaN equals NaN, and 0.0 is not -0.0."""
    if type(a) is not type(b):
        return False
    if isinstance(a, float):
        return a.hex() == b.hex()
    if isinstance(a, list | tuple):
        return len(a) == len(b) and all(map(same, a, b))
    if isinstance(a, dict):
        return len(a) == len(b) and all(same(x, y) for x, y in zip(a.items(), b.items(), strict=True))
    return bool(a == b)


@settings(max_examples=200, deadline=None)
@given(trees)
def test_any_tree_of_plain_values_comes_back_the_same(tree: Any) -> None:
    assert same(through_json(tree), tree)


def test_values_that_json_confuses() -> None:
    tree = {1: True, True + 1: 1, "1": 1.0, "nan": math.nan, "inf": (math.inf, -math.inf), "none": None, "neg": -0.0}
    assert same(through_json(tree), tree)


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64, torch.bfloat16, torch.int64, torch.bool, torch.uint8])
def test_tensors_come_back_by_name(dtype: torch.dtype) -> None:
    value = torch.tensor([0, 1, 1]).to(dtype)
    structure, tensors = flatten({"state": {0: {"step": value, "empty": torch.empty(0, 3, dtype=dtype)}}})
    assert set(tensors) == {"state/0/step", "state/0/empty"}
    back = unflatten(structure, tensors)
    assert torch.equal(back["state"][0]["step"], value)
    assert back["state"][0]["empty"].shape == (0, 3)


def test_a_tensor_that_occurs_twice_is_kept_once() -> None:
    weight = torch.ones(3)
    structure, tensors = flatten({"a": weight, "b": weight, "c": weight.clone()})
    assert set(tensors) == {"a", "c"}
    back = unflatten(structure, tensors)
    assert back["a"] is back["b"]
    assert back["a"] is not back["c"]


def test_a_part_of_a_tensor_is_not_taken_for_the_whole() -> None:
    whole = torch.arange(4.0)
    back = unflatten(*flatten({"whole": whole, "part": whole[:2], "flipped": whole.reshape(2, 2).T}))
    assert back["part"].tolist() == [0, 1]
    assert back["flipped"].tolist() == [[0, 2], [1, 3]]


def test_two_keys_of_one_path_keep_their_own_tensor() -> None:
    back = unflatten(*flatten({0: torch.zeros(1), "0": torch.ones(1)}))
    assert (back[0].item(), back["0"].item()) == (0.0, 1.0)


@pytest.mark.parametrize("leaf", [object(), {1, 2}, 1j, b"bytes", torch.float32, torch.device("cpu"), torch.Size([1])])
def test_an_unknown_leaf_is_a_type_error_that_names_its_place(leaf: Any) -> None:
    with pytest.raises(TypeError, match=r"at optimizer/0 cannot be saved"):
        flatten({"optimizer": [leaf]})


def test_sparse_tensors_are_refused() -> None:
    with pytest.raises(TypeError, match="only dense tensors"):
        flatten({"a": torch.eye(2).to_sparse()})


@pytest.mark.parametrize("structure", [{"pickle": "cos"}, {"list": [], "tuple": []}, [1], {}])
def test_foreign_structures_are_refused(structure: Any) -> None:
    with pytest.raises(ValueError, match=r"flattened state"):
        unflatten(structure, {})
