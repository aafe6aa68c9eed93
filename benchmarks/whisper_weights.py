"""CTranslate2's Whisper weights in openai-whisper's own model: the other side of `speech`.

`model.bin` is what `ctranslate2.specs.ModelSpec.save` writes: little-endian; version, name and revision of
the layout; variables, each with name, shape, type and bytes; aliases. `WhisperSpec` names the variables. They
are float16 there.
"""

from __future__ import annotations

import struct
from collections.abc import Mapping
from io import BufferedReader
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from multimodal.errors import ConfigError

if TYPE_CHECKING:
    import torch
    from whisper.model import Whisper  # type: ignore[import-untyped]

    State = dict[str, torch.Tensor]

BINARY_VERSION = 6
"""The only one that is read (`ctranslate2.specs.model_spec.CURRENT_BINARY_VERSION`)."""
SPEC_NAME = "WhisperSpec"
TYPES: Mapping[int, str] = {0: "<f4", 1: "<i1", 2: "<i2", 3: "<i4", 4: "<f2"}
"""Numbers of types, without bfloat16, which numpy has not."""
HEAD_WIDTH = 64
"""Of every Whisper (Radford et al. 2022, table 1)."""


class Variables:
    """What is in a `model.bin`. Raises ConfigError for another layout."""

    def __init__(self, path: Path) -> None:
        with path.open("rb") as file:
            version, name = _number(file, "<I"), _string(file)
            if (version, name) != (BINARY_VERSION, SPEC_NAME):
                raise ConfigError(f"model.bin is {name}, version {version}: {SPEC_NAME} is needed.")
            _number(file, "<I")
            self._arrays = dict(_variable(file) for _ in range(_number(file, "<I")))

    def layers(self, side: str) -> int:
        """Of `encoder` or `decoder`."""
        return len(
            {name.split("/")[1] for name in self._arrays if name.startswith(f"{side}/layer_")}
            - {"layer_norm"}
        )

    def tensor(self, name: str) -> torch.Tensor:
        """Float32. ConfigError where it is missing or quantised: that is not the same as another model's."""
        import torch

        found = self._arrays.get(name)
        if found is None or found.dtype.kind != "f":
            raise ConfigError(f"model.bin has no floating-point {name}.")
        return torch.from_numpy(found.astype(np.float32))


def _variable(file: BufferedReader) -> tuple[str, NDArray[np.generic]]:
    name, rank = _string(file), _number(file, "<B")
    shape = [_number(file, "<I") for _ in range(rank)]
    kind, data = _number(file, "<B"), file.read(_number(file, "<I"))
    if kind not in TYPES:
        raise ConfigError(f"{name} in model.bin is of type {kind}, which is not read here.")
    return name, np.frombuffer(data, TYPES[kind]).reshape(shape)


def _number(file: BufferedReader, layout: str) -> int:
    try:
        (number,) = struct.unpack(layout, file.read(struct.calcsize(layout)))
    except struct.error as error:
        raise ConfigError("model.bin ends too early.") from error
    return int(number)


def _string(file: BufferedReader) -> str:
    """With a zero at its end, which its length counts."""
    return file.read(_number(file, "<H"))[:-1].decode()


def openai_model(folder: Path) -> Whisper:
    """The same weights in openai-whisper's model, float32. ConfigError where they do not fit."""
    from whisper.model import ModelDimensions, Whisper

    variables = Variables(folder / "model.bin")
    state = state_dict(variables)
    audio, text = state["encoder.positional_embedding"], state["decoder.positional_embedding"]
    width = audio.shape[1]
    model = Whisper(
        ModelDimensions(
            n_mels=state["encoder.conv1.weight"].shape[1],
            n_audio_ctx=audio.shape[0],
            n_audio_state=width,
            n_audio_head=width // HEAD_WIDTH,
            n_audio_layer=variables.layers("encoder"),
            n_vocab=state["decoder.token_embedding.weight"].shape[0],
            n_text_ctx=text.shape[0],
            n_text_state=width,
            n_text_head=width // HEAD_WIDTH,
            n_text_layer=variables.layers("decoder"),
        )
    )
    model.load_state_dict(state)
    return model.eval()


def state_dict(variables: Variables) -> State:
    """All tensors, under openai-whisper's names."""
    state: State = {}
    for name in ("conv1", "conv2"):
        state |= _renamed(variables, f"encoder/{name}", f"encoder.{name}", "weight", "bias")
    for side, norm in (("encoder", "ln_post"), ("decoder", "ln")):
        state[f"{side}.positional_embedding"] = variables.tensor(f"{side}/position_encodings/encodings")
        state |= _norm(variables, f"{side}/layer_norm", f"{side}.{norm}")
        for layer in range(variables.layers(side)):
            state |= _layer(variables, f"{side}/layer_{layer}", f"{side}.blocks.{layer}", side == "decoder")
    state["decoder.token_embedding.weight"] = variables.tensor("decoder/embeddings/weight")
    return state


def _layer(variables: Variables, source: str, target: str, looks_at_sound: bool) -> State:
    state = _attention(variables, f"{source}/self_attention", f"{target}.attn", (("query", "key", "value"),))
    if looks_at_sound:
        parts = (("query",), ("key", "value"))
        state |= _attention(variables, f"{source}/attention", f"{target}.cross_attn", parts)
    for number, name in ((0, "mlp.0"), (1, "mlp.2")):
        state |= _renamed(variables, f"{source}/ffn/linear_{number}", f"{target}.{name}", "weight", "bias")
    return state | _norm(variables, f"{source}/ffn/layer_norm", f"{target}.mlp_ln")


def _attention(variables: Variables, source: str, target: str, fused: tuple[tuple[str, ...], ...]) -> State:
    """CTranslate2 has one matrix for all that multiply the same input, and a bias of zeros for keys."""
    state: State = {}
    for number, names in enumerate(fused):
        for kind in ("weight", "bias"):
            parts = variables.tensor(f"{source}/linear_{number}/{kind}").chunk(len(names))
            state |= {f"{target}.{name}.{kind}": part for name, part in zip(names, parts, strict=True)}
    del state[f"{target}.key.bias"]
    state |= _renamed(variables, f"{source}/linear_{len(fused)}", f"{target}.out", "weight", "bias")
    return state | _norm(variables, f"{source}/layer_norm", f"{target}_ln")


def _norm(variables: Variables, source: str, target: str) -> State:
    return {
        f"{target}.weight": variables.tensor(f"{source}/gamma"),
        f"{target}.bias": variables.tensor(f"{source}/beta"),
    }


def _renamed(variables: Variables, source: str, target: str, *names: str) -> State:
    return {f"{target}.{name}": variables.tensor(f"{source}/{name}") for name in names}
