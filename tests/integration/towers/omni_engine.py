"""vLLM with a tiny Qwen2.5-Omni in a process of its own: asked through files, gone with the answers.

In the process of the tests it would leave its threads, its settings of torch and its warnings behind.
"""

from __future__ import annotations

import os
import pickle
import subprocess
import sys
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TypeAlias

Prompt: TypeAlias = dict[str, object]
"""As `LLM.generate` takes one."""

ROOT = Path(__file__).parents[3]
TOKENS = 6
ENVIRONMENT = {
    "VLLM_ENABLE_V1_MULTIPROCESSING": "0",
    "VLLM_LOGGING_LEVEL": "ERROR",
    "VLLM_NO_USAGE_STATS": "1",
    "HF_HUB_OFFLINE": "1",
    # One thread: two that spin for each other on a busy machine take several times as long.
    "OMP_NUM_THREADS": "1",
    "VLLM_CPU_OMP_THREADS_BIND": "nobind",
}


@dataclass(frozen=True)
class Answer:
    """What was said, or why nothing was."""

    token_ids: list[int] = field(default_factory=list)
    logprobs: list[float] = field(default_factory=list)
    """Of each token that was said."""
    prompt_tokens: int = 0
    cached_tokens: int = 0
    error: str = ""


@dataclass(frozen=True)
class Session:
    """One life of an engine."""

    answers: list[Answer]
    """In the order of the prompts, asked one after the other."""
    towers: dict[str, str]
    """Classes of the model's towers by their names."""


def ask(model: Path, prompts: Sequence[Prompt], folder: Path, *, towers: bool) -> Session:
    """Answers by an engine that has its towers and takes media, or has none and takes embeddings."""
    asked, answered = folder / "asked.pickle", folder / "answered.pickle"
    asked.write_bytes(pickle.dumps(list(prompts)))
    command = [sys.executable, "-m", __name__, str(model), str(asked), str(answered), str(int(towers))]
    done = subprocess.run(
        command, cwd=ROOT, env={**os.environ, **ENVIRONMENT}, capture_output=True, text=True, timeout=150
    )
    assert done.returncode == 0, done.stderr[-4000:]
    session = pickle.loads(answered.read_bytes())
    assert isinstance(session, Session)
    return session


def main(model: str, asked: str, answered: str, towers: str) -> None:
    """In the other process."""
    from vllm import LLM

    from tests.integration.towers import omni_engine

    limit = 4 * int(towers)
    llm = LLM(
        model=model,
        dtype="float32",
        enforce_eager=True,
        max_model_len=2048,
        max_num_seqs=2,
        max_num_batched_tokens=1024,
        kv_cache_memory_bytes=32 << 20,
        limit_mm_per_prompt={"image": limit, "video": limit, "audio": limit},
        enable_mm_embeds=not limit,
        enable_prefix_caching=True,
        skip_mm_profiling=True,
        mm_processor_cache_type="lru",
    )
    prompts = pickle.loads(Path(asked).read_bytes())
    answers = [omni_engine._answer(llm, prompt) for prompt in prompts]
    (names,) = llm.apply_model(omni_engine._towers)
    Path(answered).write_bytes(pickle.dumps(omni_engine.Session(answers, names)))


def _answer(llm: object, prompt: Prompt) -> Answer:
    from vllm import LLM, SamplingParams

    assert isinstance(llm, LLM)
    sampling = SamplingParams(temperature=0, max_tokens=TOKENS, logprobs=0, ignore_eos=True)
    try:
        (output,) = llm.generate(prompt, sampling, use_tqdm=False)  # type: ignore[arg-type]
    except ValueError as error:
        return Answer(error=str(error))
    (choice,) = output.outputs
    said = list(choice.token_ids)
    chances = zip(said, choice.logprobs or (), strict=True)
    return Answer(
        token_ids=said,
        logprobs=[of_all[token].logprob for token, of_all in chances if of_all is not None],
        prompt_tokens=len(output.prompt_token_ids or ()),
        cached_tokens=output.num_cached_tokens or 0,
    )


def _towers(model: object) -> dict[str, str]:
    return {name: type(getattr(model, name)).__name__ for name in ("visual", "audio_tower")}


if __name__ == "__main__":
    main(*sys.argv[1:])
