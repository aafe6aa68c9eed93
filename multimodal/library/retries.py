"""How often, and when, a file is tried again after a stage was not available."""

from __future__ import annotations

from multimodal.errors import DeadlineExceeded, MultimodalError

RESTARTS = 10
"""With the pauses between them: about half an hour in which a stage may be away."""
TIMEOUTS = 3
"""Tries of a file on which a stage takes too long: each has cost that stage all its time."""
FIRST_PAUSE_S = 5.0
LONGEST_PAUSE_S = 600.0
LONGEST_IDLE_S = 60.0
"""An Ingestor that is interrupted again and again looks this often whether the next file fares better."""
MOST_FILES = 10_000
"""That are remembered; what is forgotten is tried anew."""


class Retries:
    """Counts the interruptions of each file, in this process."""

    def __init__(self) -> None:
        self._counts: dict[str, int] = {}

    def delay_s(self, file_id: str, error: MultimodalError) -> float | None:
        """Seconds until the next try after this error; None: it was tried often enough."""
        count = self._counts.pop(file_id, 0) + 1
        if count >= (TIMEOUTS if isinstance(error, DeadlineExceeded) else RESTARTS):
            return None
        self._counts[file_id] = count
        if len(self._counts) > MOST_FILES:
            del self._counts[next(iter(self._counts))]
        pause: float = min(LONGEST_PAUSE_S, FIRST_PAUSE_S * 2 ** (count - 1))
        return max(error.retry_after_s or 0.0, pause)

    def forget(self, file_id: str) -> None:
        """It was finished, one way or the other."""
        self._counts.pop(file_id, None)


def pause_s(interrupted: int) -> float:
    """Seconds after so many interruptions in a row: most likely what is missing is missing for all files."""
    return min(LONGEST_IDLE_S, 2.0 ** min(interrupted, 10))
