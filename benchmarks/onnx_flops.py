"""Floating-point operations of models on ONNX Runtime, by its own profile: which node got and made what."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable, Mapping, Sequence
from math import prod
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING, Protocol, TypedDict, cast

if TYPE_CHECKING:
    import onnxruntime  # type: ignore[import-untyped]


class Engine(Protocol):
    """What runs a session: rapidocr's `OrtInferSession`."""

    session: onnxruntime.InferenceSession


class Node(TypedDict, total=False):
    """A run of one node; events of other kinds have no such fields."""

    op_name: str
    input_type_shape: Sequence[Mapping[str, Sequence[int]]]
    """Activations and weights: the shape of each by its type."""
    output_type_shape: Sequence[Mapping[str, Sequence[int]]]


class Event(TypedDict):
    """One of a profile's; it has more fields."""

    args: Node


def flops(engines: Mapping[str, Engine], work: Callable[[], object]) -> dict[str, int]:
    """Of each engine's products that `work` calls. It runs slowly: measure its time without this."""
    usual = {name: engine.session for name, engine in engines.items()}
    with TemporaryDirectory() as folder:
        try:
            for name, engine in engines.items():
                engine.session = _profiled(engine.session, Path(folder) / name)
            work()
            files = {name: Path(engine.session.end_profiling()) for name, engine in engines.items()}
        finally:
            for name, engine in engines.items():
                engine.session = usual[name]
        return {name: flops_of(_events(file)) for name, file in files.items()}


def _profiled(session: onnxruntime.InferenceSession, prefix: Path) -> onnxruntime.InferenceSession:
    import onnxruntime

    options = session.get_session_options()
    options.enable_profiling = True
    options.profile_file_prefix = str(prefix)
    # Fused nodes have other names, and weights that were repacked are missing in the profile, or padded.
    options.graph_optimization_level = onnxruntime.GraphOptimizationLevel.ORT_DISABLE_ALL
    options.add_session_config_entry("session.disable_prepacking", "1")
    return onnxruntime.InferenceSession(session._model_path, options, providers=session.get_providers())


def _events(file: Path) -> list[Event]:
    return cast("list[Event]", json.loads(file.read_text(encoding="utf-8")))


def flops_of(profile: Iterable[Event]) -> int:
    """Of all convolutions and matrix products, an addition counted like a multiplication, without biases."""
    return sum(_node_flops(event["args"]) for event in profile if "op_name" in event["args"])


def _node_flops(node: Node) -> int:
    """Weights of Conv are (out, in / groups, ...), of ConvTranspose (in, out / groups, ...)."""
    inputs, outputs = _shapes(node["input_type_shape"]), _shapes(node["output_type_shape"])
    match node["op_name"]:
        case "Conv":
            return 2 * prod(outputs[0]) * prod(inputs[1][1:])
        case "ConvTranspose":
            return 2 * prod(inputs[0]) * prod(inputs[1][1:])
        case "MatMul":
            return 2 * prod(outputs[0]) * inputs[0][-1]
        case "Gemm":
            # The first may be transposed.
            return 2 * prod(inputs[0]) * outputs[0][1]
        case _:
            return 0


def _shapes(values: Iterable[Mapping[str, Sequence[int]]]) -> list[Sequence[int]]:
    return [shape for value in values for shape in value.values()]
