"""vLLM's own load generator drives the server, as it would drive any other."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
from pydantic import BaseModel

from multimodal.config import home
from multimodal.models.refs import resolve
from multimodal.serving.background import RunningServer
from tests.e2e.conftest import MODEL, ROOT

PROMPTS = 8
OUTPUT_TOKENS = 8
TIMEOUT_S = 240

TEXT = ("random",)
IMAGES = (
    "random-mm",
    *("--random-mm-base-items-per-request", "2"),
    *("--random-mm-num-mm-items-range-ratio", "0"),
    *("--random-mm-limit-mm-per-prompt", '{"image": 2, "video": 0}'),
    *("--random-mm-bucket-config", "{(64, 48, 1): 0.5, (96, 160, 1): 0.5}"),  # height, width, frames
)


class Result(BaseModel):
    """What `bench serve` counted."""

    completed: int
    failed: int
    total_input_tokens: int
    total_output_tokens: int


@pytest.mark.parametrize("dataset", [TEXT, IMAGES], ids=["text", "images"])
def test_no_request_of_bench_serve_fails(
    server: RunningServer, dataset: tuple[str, ...], tmp_path: Path
) -> None:
    done = subprocess.run(
        [*bench_serve(server.base_url, tmp_path / "result.json"), "--dataset-name", *dataset],
        cwd=ROOT,
        env=os.environ | {"HF_HUB_OFFLINE": "1"},
        capture_output=True,
        text=True,
        timeout=TIMEOUT_S,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    result = Result.model_validate(json.loads((tmp_path / "result.json").read_text(encoding="utf-8")))
    assert (result.completed, result.failed) == (PROMPTS, 0), done.stdout
    assert result.total_output_tokens == PROMPTS * OUTPUT_TOKENS
    assert result.total_input_tokens > 0


def bench_serve(base_url: str, result: Path) -> list[str]:
    """The command, without the data set."""
    return [
        *(sys.executable, "-m", "benchmarks.vllm_cli", "bench", "serve"),
        *("--backend", "openai-chat", "--endpoint", "/v1/chat/completions", "--base-url", base_url),
        *("--model", MODEL, "--tokenizer", str(resolve("embedded:smollm2-135m-vl", home()))),
        *("--num-prompts", str(PROMPTS), "--max-concurrency", "4", "--ignore-eos"),
        *("--random-input-len", "32", "--random-output-len", str(OUTPUT_TOKENS)),
        *("--save-result", "--result-dir", str(result.parent), "--result-filename", result.name),
        "--disable-tqdm",
    ]
