"""vLLM's scheduler, which reads prompts with media in pieces while there are texts: see `precedence`."""

from __future__ import annotations

from typing import TYPE_CHECKING

from vllm.v1.core.sched.scheduler import Scheduler
from vllm.v1.request import RequestStatus

from multimodal.generation.precedence import MEDIA_TOKENS, media_tokens

if TYPE_CHECKING:
    from vllm.v1.core.sched.output import SchedulerOutput
    from vllm.v1.request import Request


class TextFirst(Scheduler):
    """Where steps are not planned ahead: on CPUs.

    Prompts with media are read to the end where vLLM may not cut them anywhere.
    """

    _media_tokens: int | None = None
    """Left of this step; None: no limit."""

    def schedule(self, throttle_prefills: bool = False) -> SchedulerOutput:
        """As vLLM does it."""
        if self._may_cut():
            self._media_tokens = media_tokens(self.running, self.waiting, self._limit())
        return super().schedule(throttle_prefills)

    def _limit(self) -> int:
        config = self.vllm_config.additional_config
        if not isinstance(config, dict):
            raise TypeError(f"{MEDIA_TOKENS} belongs into vLLM's additional_config, a dict.")
        return int(config[MEDIA_TOKENS])

    def _may_cut(self) -> bool:
        config = self.scheduler_config
        is_cut_anywhere = config.enable_chunked_prefill and not config.disable_chunked_mm_input
        return is_cut_anywhere and not self.need_mamba_block_aligned_split

    def _try_schedule_encoder_inputs(
        self,
        request: Request,
        num_computed_tokens: int,
        num_new_tokens: int,
        encoder_compute_budget: int,
        shift_computed_tokens: int = 0,
    ) -> tuple[list[int], int, int, list[int], list[int]]:
        """Called by vLLM for each request with media, before it gives it tokens of the step."""
        is_read = request.is_prefill_chunk or request.status != RequestStatus.RUNNING
        if self._media_tokens is not None and is_read:
            num_new_tokens = min(num_new_tokens, self._media_tokens)
        found = super()._try_schedule_encoder_inputs(
            request, num_computed_tokens, num_new_tokens, encoder_compute_budget, shift_computed_tokens
        )
        if self._media_tokens is not None and is_read:
            self._media_tokens -= found[1]
        return found
