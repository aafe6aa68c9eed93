"""vLLM's schedulers, with less to do in a step while texts are under way: see `precedence`."""

from __future__ import annotations

from typing import TYPE_CHECKING

from vllm.v1.core.sched.async_scheduler import AsyncScheduler
from vllm.v1.core.sched.scheduler import Scheduler

from multimodal.generation.precedence import MEDIA_TOKENS, budget_tokens, order

if TYPE_CHECKING:
    from vllm.v1.core.sched.output import SchedulerOutput


class TextFirst(Scheduler):
    """Where steps are not planned ahead: on CPUs."""

    def schedule(self, throttle_prefills: bool = False) -> SchedulerOutput:
        """As vLLM does it."""
        self.running.sort(key=order)  # else who was admitted first would get tokens of the step first
        whole = self.max_num_scheduled_tokens
        self.max_num_scheduled_tokens = budget_tokens(self.running, self.waiting, whole, self._limit())
        try:
            return super().schedule(throttle_prefills)
        finally:
            self.max_num_scheduled_tokens = whole

    def _limit(self) -> int:
        config = self.vllm_config.additional_config
        if not isinstance(config, dict):
            raise TypeError(f"{MEDIA_TOKENS} belongs into vLLM's additional_config, a dict.")
        return int(config[MEDIA_TOKENS])


class AsyncTextFirst(TextFirst, AsyncScheduler):
    """Where the next step is planned while one runs."""
