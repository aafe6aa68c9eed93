"""vLLM's scheduler and a model on a CPU in one process.

vLLM 0.32 gives such a model a process of its own, so that each of its threads can be bound to a core. The
scheduler's process then asks without a pause whether the model is done, in time that the model does not get
(`python -m benchmarks.engine_settings`). Threads are not bound here: one may take any of the engine's cores.

vLLM also makes a dozen process groups, of one process each, and Gloo a thread for each of them that wakes up
a hundred times a second. Here they are all the same group, which is left once.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Sequence
from functools import wraps
from operator import attrgetter

import torch
import torch.distributed
from vllm.v1.executor.uniproc_executor import UniProcExecutor

from multimodal.generation.cores import CORES


class OneProcess(UniProcExecutor):
    """Lives in vLLM's engine process. Needs CORES in vLLM's additional_config."""

    def _init_executor(self) -> None:
        config = self.vllm_config.additional_config
        if not isinstance(config, dict):
            raise TypeError(f"{CORES} belongs into vLLM's additional_config, a dict.")
        use(config[CORES])
        share_one_group()
        let_compiled_models_load()
        super()._init_executor()


def share_one_group() -> None:
    """Whoever makes a group gets that of all processes, and who leaves the last, or first, ends it."""
    leave: Callable[[], object] = torch.distributed.destroy_process_group

    def all_of_it(*_: object, **__: object) -> object:
        return torch.distributed.group.WORLD

    def leave_once(*_: object) -> None:
        if torch.distributed.is_initialized():
            leave()

    vars(torch.distributed).update(new_group=all_of_it, destroy_process_group=leave_once)


def let_compiled_models_load() -> None:
    """vLLM 0.32 asks a compiled model to load its parts. The one for CPUs has none, and would be compiled
    anew at each start."""
    load: Callable[..., object] = torch.compiler.load_compiled_function

    @wraps(load)
    def loaded(*args: object, **options: object) -> object:
        model = load(*args, **options)
        whole = attrgetter("_artifacts.compiled_fn")(model)
        if not hasattr(whole, "finalize_loading"):
            whole.finalize_loading = lambda _config: None
        return model

    vars(torch.compiler)["load_compiled_function"] = loaded


def use(cores: Sequence[int]) -> None:
    """All threads of this process use these cores alone, and an operation as many threads, whatever the
    environment says: Ray's workers are told to take one."""
    for thread in os.listdir("/proc/self/task"):
        os.sched_setaffinity(int(thread), cores)
    torch.set_num_threads(len(cores))
