"""Splitting the hidden channels of an MLP changes no result, and leaves the wide ones to themselves."""

import numpy as np
import onnx
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from onnx import TensorProto, helper, numpy_helper

from model.unified.onnx_runtime import open_session
from model.unified.onnx_wide import mlps, split_wide, widest

WIDTH, HIDDEN = 6, 12


def model_of(seed: int, *, read_twice: bool = False) -> onnx.ModelProto:
    """Two MLPs in a row, as an export writes them."""
    rng = np.random.default_rng(seed)
    nodes, constants, name = [], [], "x"
    for layer in range(2):
        shapes = {"up": (WIDTH, HIDDEN), "bias": (HIDDEN,), "down": (HIDDEN, WIDTH)}
        for what, shape in shapes.items():
            values = rng.normal(size=shape).astype(np.float32)
            constants.append(numpy_helper.from_array(values, f"{what}{layer}"))
        steps = (("MatMul", [name, f"up{layer}"], "u"), ("Add", [f"u{layer}", f"bias{layer}"], "a"))
        steps += (("Gelu", [f"a{layer}"], "g"), ("MatMul", [f"g{layer}", f"down{layer}"], "d"))
        for kind, inputs, output in steps:
            nodes.append(helper.make_node(kind, inputs, [f"{output}{layer}"], name=f"{kind}_{output}{layer}"))
        nodes.append(helper.make_node("Add", [name, f"d{layer}"], [f"y{layer}"], name=f"residual{layer}"))
        name = f"y{layer}"
    nodes[6].input[1] = "bias0"  # an export keeps equal constants once
    constants = [constant for constant in constants if constant.name != "bias1"]
    outputs = [name, *(["g0"] if read_twice else [])]
    if read_twice:
        nodes.append(helper.make_node("Relu", ["g0"], ["seen"], name="another reader"))
        outputs = [name, "seen"]
    ends = [helper.make_tensor_value_info(n, TensorProto.FLOAT, ["N", "F"]) for n in outputs]
    start = helper.make_tensor_value_info("x", TensorProto.FLOAT, ["N", WIDTH])
    graph = helper.make_graph(nodes, "mlps", [start], ends, constants)
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", 20)], ir_version=10)


def result(model: onnx.ModelProto) -> np.ndarray:
    x = np.random.default_rng(9).normal(size=(5, WIDTH)).astype(np.float32)
    return open_session(model.SerializeToString(), threads=1).run(None, {"x": x})[0]


@settings(max_examples=20, deadline=None)
@given(st.integers(0, 99), st.lists(st.integers(0, HIDDEN - 1), min_size=1, max_size=HIDDEN - 1, unique=True))
def test_any_split_computes_the_same(seed: int, channels: list[int]) -> None:
    model = model_of(seed)
    before = result(model)
    made = split_wide(model, {mlp.hidden: np.sort(channels) for mlp in mlps(model.graph)})
    onnx.checker.check_model(model, full_check=True)
    assert len(made) == 4  # two products in each layer
    shapes = {i.name: tuple(i.dims) for i in model.graph.initializer}
    assert shapes["MatMul_u0/down0_narrow"] == (HIDDEN - len(channels), WIDTH)
    assert shapes["MatMul_u0/down0_wide"] == (len(channels), WIDTH)
    np.testing.assert_allclose(result(model), before, rtol=1e-4, atol=1e-5)


def test_a_lost_channel_is_noticed() -> None:
    model = model_of(1)
    before = result(model)
    split_wide(model, {mlp.hidden: np.array([3]) for mlp in mlps(model.graph)})
    lost = next(i for i in model.graph.initializer if i.name.endswith("down0_wide"))
    lost.CopyFrom(numpy_helper.from_array(np.zeros((1, WIDTH), np.float32), lost.name))
    assert np.abs(result(model) - before).max() > 1e-3


def test_a_layer_that_something_else_reads_stays_whole() -> None:
    model = model_of(2, read_twice=True)
    assert [mlp.hidden for mlp in mlps(model.graph)] == ["g1"]
    assert split_wide(model, {"g0": np.array([1])}) == []


@pytest.mark.parametrize(("count", "expected"), [(2, [0, 4]), (9, [0, 2, 4])])
def test_the_widest_are_those_with_the_largest_values(count: int, expected: list[int]) -> None:
    peaks = {"g": np.array([9, 1, 3, 2, 8, 0], dtype=np.float32)}
    assert widest(peaks, count)["g"].tolist() == expected, "at most half of the channels are wide"
