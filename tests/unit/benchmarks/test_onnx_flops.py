"""Products counted in a profile of ONNX Runtime."""

from __future__ import annotations

import json
from collections.abc import Sequence

import pytest

from benchmarks.onnx_flops import flops_of

PROFILE = """[
{"cat": "Session", "dur": 9, "name": "model_loading_uri", "args": {}},
{"cat": "Node", "dur": 431, "name": "Conv.0_kernel_time", "args": {
  "op_name": "Conv", "parameter_size": "2592",
  "input_type_shape": [{"float": [1, 3, 8, 8]}, {"float": [24, 3, 3, 3]}],
  "output_type_shape": [{"float": [1, 24, 4, 4]}]}},
{"cat": "Node", "dur": 5, "name": "Relu.0_kernel_time", "args": {
  "op_name": "Relu", "parameter_size": "0",
  "input_type_shape": [{"float": [1, 24, 4, 4]}],
  "output_type_shape": [{"float": [1, 24, 4, 4]}]}},
{"cat": "Node", "dur": 36, "name": "MatMul.0_kernel_time", "args": {
  "op_name": "MatMul", "parameter_size": "172800",
  "input_type_shape": [{"float": [1, 20, 120]}, {"float": [120, 360]}],
  "output_type_shape": [{"float": [1, 20, 360]}]}},
{"cat": "Session", "dur": 500, "name": "SequentialExecutor::Execute", "args": {}}
]"""
"""As onnxruntime 1.32 writes it, but for some fields."""


def profile_of(op_name: str, inputs: Sequence[Sequence[int]], output: Sequence[int]) -> str:
    shapes = [{"float": list(shape)} for shape in inputs]
    node = {"op_name": op_name, "input_type_shape": shapes, "output_type_shape": [{"float": list(output)}]}
    return json.dumps([{"args": node}])


def test_only_products_count() -> None:
    assert flops_of(json.loads(PROFILE)) == 2 * (24 * 4 * 4) * (3 * 3 * 3) + 2 * 20 * 120 * 360
    assert flops_of([]) == 0


@pytest.mark.parametrize(
    ("op_name", "inputs", "output", "products"),
    [
        ("Conv", [(2, 8, 5, 5), (8, 1, 3, 3), (8,)], (2, 8, 5, 5), 2 * 8 * 25 * 9),  # 8 groups, a bias
        ("ConvTranspose", [(1, 24, 4, 4), (24, 6, 2, 2)], (1, 6, 8, 8), 24 * 16 * 6 * 4),
        ("MatMul", [(1, 8, 20, 15), (1, 8, 15, 30)], (1, 8, 20, 30), 8 * 20 * 15 * 30),  # two activations
        ("Gemm", [(7, 3), (5, 7), (5,)], (3, 5), 3 * 7 * 5),  # both transposed
    ],
)
def test_a_product_is_counted_by_its_shapes(
    op_name: str, inputs: Sequence[Sequence[int]], output: Sequence[int], products: int
) -> None:
    assert flops_of(json.loads(profile_of(op_name, inputs, output))) == 2 * products
