"""vLLM in a process of its own, with its towers or without: asked through files, gone with the answers.

In the process of the tests it would leave its threads, its settings of torch and its warnings behind.
"""

from __future__ import annotations

import os
import pickle
import subprocess
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, cast

from multimodal.config import GeneratorArgs
from multimodal.generation.booting import WORKER_EXTENSION, limits
from multimodal.generation.precedence import MEDIA_TOKENS, priority
from multimodal.generation.visuals import inputs
from multimodal.types import Visual

if TYPE_CHECKING:
    from vllm import LLM
    from vllm.inputs import TokensPrompt
    from vllm.v1.core.sched.output import SchedulerOutput
    from vllm.v1.core.sched.scheduler import Scheduler
    from vllm.v1.engine.core_client import InprocClient

ROOT = Path(__file__).parents[3]
TOKENS = 8
PIECE_TOKENS = 7
ENVIRONMENT = {
    "VLLM_ENABLE_V1_MULTIPROCESSING": "0",
    "VLLM_LOGGING_LEVEL": "ERROR",
    "VLLM_NO_USAGE_STATS": "1",
    "VLLM_HOST_IP": "127.0.0.1",
    "GLOO_SOCKET_IFNAME": "lo",
    "VLLM_CPU_OMP_THREADS_BIND": "nobind",
    "HF_HUB_OFFLINE": "1",
    "CUDA_VISIBLE_DEVICES": "",
}


@dataclass(frozen=True)
class Question:
    """A prompt with the placeholders of its visuals in it."""

    text: str
    visuals: tuple[Visual, ...]


TEXT = Question("The text that is written meanwhile.", ())


@dataclass(frozen=True)
class Answer:
    """What was said."""

    token_ids: list[int]
    logprobs: list[float]
    """Of each token that was said."""
    prompt_tokens: int
    cached_tokens: int


@dataclass(frozen=True)
class Session:
    """One life of an engine."""

    answers: list[list[Answer]]
    """By step, in the order of the questions."""
    parameters: dict[str, int]
    """Of the model's parts, by their names."""
    pieces: list[int]
    """Tokens of prompts with media in each step beside a text."""


def ask(model: Path, args: GeneratorArgs, steps: Sequence[Sequence[Question]], folder: Path) -> Session:
    """Answers to questions, those of a step asked together."""
    asked, answered = folder / "asked.pickle", folder / "answered.pickle"
    asked.write_bytes(pickle.dumps((model, args, steps)))
    done = subprocess.run(
        [sys.executable, "-m", __name__, str(asked), str(answered)],
        cwd=ROOT,
        env={**os.environ, **ENVIRONMENT},
        capture_output=True,
        text=True,
        timeout=180,
    )
    assert done.returncode == 0, done.stderr[-6000:]
    session = pickle.loads(answered.read_bytes())
    assert isinstance(session, Session)
    return session


def main(asked: str, answered: str) -> None:
    """In the other process."""
    from vllm import LLM

    from tests.integration.towers import vllm_process

    model, args, steps = pickle.loads(Path(asked).read_bytes())
    llm = LLM(
        model=str(model),
        dtype="float32",
        enforce_eager=True,
        max_model_len=2048,
        max_num_seqs=16,
        max_num_batched_tokens=2048,
        kv_cache_memory_bytes=32 << 20,
        limit_mm_per_prompt=limits(args),
        worker_extension_cls=WORKER_EXTENSION,
        enable_mm_embeds=True,
        enable_prefix_caching=True,
        skip_mm_profiling=True,
        scheduling_policy="priority",
        # As Generator has it: what is given embeddings reads them in pieces beside a text.
        scheduler_cls=None if args.pixels else "multimodal.generation.scheduling.TextFirst",
        additional_config={MEDIA_TOKENS: PIECE_TOKENS},
        mm_processor_cache_type="lru",
    )
    pieces = vllm_process.watch(llm)
    answers = [vllm_process.answer(llm, args, questions) for questions in steps]
    (parameters,) = llm.apply_model(vllm_process.count)
    Path(answered).write_bytes(pickle.dumps(vllm_process.Session(answers, parameters, pieces)))


def answer(llm: LLM, args: GeneratorArgs, questions: Sequence[Question]) -> list[Answer]:
    """All in one batch, beside a text."""
    from vllm import SamplingParams

    sampling = SamplingParams(temperature=0, max_tokens=TOKENS, logprobs=0, ignore_eos=True)
    prompts = [_prompt(llm, args, question) for question in (TEXT, *questions)]
    turns = [priority(0, media=False)] + [priority(0, media=True) for _ in questions]
    answers = []
    for output in llm.generate(prompts, sampling, use_tqdm=False, priority=turns)[1:]:
        (choice,) = output.outputs
        assert choice.logprobs is not None
        said = list(choice.token_ids)
        chances = [
            found[token].logprob
            for token, found in zip(said, choice.logprobs, strict=True)
            if found is not None
        ]
        asked = len(output.prompt_token_ids or ())
        answers.append(Answer(said, chances, asked, output.num_cached_tokens or 0))
    return answers


def watch(llm: LLM) -> list[int]:
    """`Session.pieces`, as they come."""
    core = cast("InprocClient", llm.llm_engine.engine_core)
    scheduler = cast("Scheduler", core.engine_core.scheduler)
    schedule, pieces = scheduler.schedule, []

    def watched(throttle_prefills: bool = False) -> SchedulerOutput:
        requests = [*scheduler.running, *scheduler.waiting]
        read = {
            one.request_id
            for one in requests
            if one.mm_features and one.num_computed_tokens < one.num_prompt_tokens
        }
        output = schedule(throttle_prefills)
        if not all(one.mm_features for one in requests):
            pieces.append(sum(output.num_scheduled_tokens.get(one, 0) for one in read))
        return output

    scheduler.schedule = watched  # type: ignore[method-assign]
    return pieces


def _prompt(llm: LLM, args: GeneratorArgs, question: Question) -> TokensPrompt:
    from vllm.inputs import TokensPrompt

    shown = inputs(question.visuals, videos_whole=args.video_placeholder is not None)
    ids = llm.get_tokenizer().encode(question.text, add_special_tokens=False)
    prompt = TokensPrompt(prompt_token_ids=ids, multi_modal_data=shown.data)
    if shown.uuids:
        prompt["multi_modal_uuids"] = shown.uuids
    return prompt


def count(model: object) -> dict[str, int]:
    """Numbers, by part."""
    import torch

    assert isinstance(model, torch.nn.Module)
    return {name: sum(one.numel() for one in part.parameters()) for name, part in model.named_children()}


if __name__ == "__main__":
    main(*sys.argv[1:])
