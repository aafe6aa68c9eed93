"""rapidocr's two models on ONNX Runtime: one finds lines of text, one reads them.

The models (PP-OCRv6 small: Latin letters, Chinese and Japanese) come with the package. rapidocr takes
sessions made elsewhere, which keeps its downloader out of it and lets us set threads.
"""

from __future__ import annotations

import logging
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Protocol

import numpy as np
from numpy.typing import NDArray

from multimodal.config import ReaderArgs
from multimodal.encoders.reading_order import Points
from multimodal.errors import ConfigError

if TYPE_CHECKING:
    import onnxruntime  # type: ignore[import-untyped]

Pixels = NDArray[np.uint8]

DETECTOR_FILE = "PP-OCRv6_det_small.onnx"
RECOGNISER_FILE = "PP-OCRv6_rec_small.onnx"
RECOGNISER_BATCH = {"cpu": 1, "cuda": 8}
"""Lines in one pass. On a CPU a batch only adds padding, and alone a line reads the same in any company."""


class Ocr(Protocol):
    """Finds lines of text in pictures (height, width, 3), BGR, and reads them."""

    def find(self, picture: Pixels) -> Points:
        """Quadrangles (n, 4, 2) around the lines, in pixels, clockwise from the top left corner."""
        ...

    def recognise(self, lines: Sequence[Pixels]) -> list[tuple[str, float]]:
        """Text and confidence of each cut-out line, in order."""
        ...


class RapidOcr:
    """The models that rapidocr ships. Raises ConfigError where they or the CUDA runtime are missing."""

    def __init__(self, args: ReaderArgs) -> None:
        from rapidocr import EngineType
        from rapidocr.ch_ppocr_det import TextDetector
        from rapidocr.ch_ppocr_rec import TextRecognizer

        _hand_over_logging()
        engine = EngineType.ONNXRUNTIME
        self._detector = TextDetector(
            _Options(session=_session(DETECTOR_FILE, args), engine_type=engine, **DETECTOR_OPTIONS)
        )
        self._recogniser = TextRecognizer(
            _Options(
                session=_session(RECOGNISER_FILE, args),
                engine_type=engine,
                rec_batch_num=RECOGNISER_BATCH[args.device],
                **RECOGNISER_OPTIONS,
            )
        )

    def find(self, picture: Pixels) -> Points:
        """Quadrangles (n, 4, 2) around the lines; the sides of the picture must be multiples of 32."""
        boxes = self._detector(picture).boxes
        return np.empty((0, 4, 2), np.float32) if boxes is None else boxes.astype(np.float32)

    def recognise(self, lines: Sequence[Pixels]) -> list[tuple[str, float]]:
        """Text and confidence of each cut-out line, in order."""
        from rapidocr.ch_ppocr_rec import TextRecInput

        if not lines:
            return []
        output = self._recogniser(TextRecInput(img=list(lines)))
        return [(text, float(score)) for text, score in zip(output.txts or (), output.scores, strict=True)]


DETECTOR_OPTIONS: dict[str, object] = {
    "limit_type": "max",
    "limit_side_len": 1 << 20,  # pictures come in the size that they are searched in
    "mean": [0.5, 0.5, 0.5],
    "std": [0.5, 0.5, 0.5],
    "thresh": 0.3,
    "box_thresh": 0.5,
    "unclip_ratio": 1.6,
    "use_dilation": True,
}
RECOGNISER_OPTIONS: dict[str, object] = {
    "lang_type": "ch",  # the one that ships: reads Latin letters as well
    "rec_img_shape": [3, 48, 320],
    "font_path": None,
}
"""rapidocr 3.10's own defaults (its config.yaml), but for the limit."""


class _Options(dict[str, object]):
    """A dictionary that is read by attribute too, which is how rapidocr reads its configuration."""

    def __getattr__(self, name: str) -> object:
        try:
            return self[name]
        except KeyError:
            raise AttributeError(name) from None


def _session(file: str, args: ReaderArgs) -> onnxruntime.InferenceSession:
    import onnxruntime

    options = onnxruntime.SessionOptions()
    options.log_severity_level = 3  # errors
    options.intra_op_num_threads = args.threads
    # Threads that spin while they wait take the cores from the generator.
    options.add_session_config_entry("session.intra_op.allow_spinning", "0")
    return onnxruntime.InferenceSession(str(_shipped(file)), options, providers=_providers(args.device))


def _shipped(file: str) -> Path:
    import rapidocr

    path = Path(rapidocr.__file__).parent / "models" / file
    if not path.is_file():
        raise ConfigError(
            f"The installed rapidocr comes without {file}: install the version in the lock file."
        )
    return path


def _providers(device: str) -> list[str]:
    import onnxruntime

    if device == "cpu":
        return ["CPUExecutionProvider"]
    if "CUDAExecutionProvider" not in onnxruntime.get_available_providers():
        raise ConfigError(
            "reader.device is cuda, but ONNX Runtime has no CUDA here: install onnxruntime-gpu."
        )
    return ["CUDAExecutionProvider", "CPUExecutionProvider"]


def _hand_over_logging() -> None:
    """rapidocr prints every step through a handler of its own. Let the program decide what is shown."""
    from rapidocr.utils.log import logger

    for handler in list(logger.handlers):
        logger.removeHandler(handler)
    logger.propagate = True
    logger.setLevel(logging.WARNING)
