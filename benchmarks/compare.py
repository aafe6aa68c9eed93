"""What holds wherever sides take turns."""

from __future__ import annotations

SETTLE_S = 2.0
"""Between turns: vLLM's processes poll for 1 s after their last step (`SpinCondition.busy_loop_s`)."""

BUSY_CORES = 0.2
"""More than this of other programs in a turn is pointed out."""
