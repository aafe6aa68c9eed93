"""What went wrong in the background, for the operator: nobody is there to be answered."""

from __future__ import annotations

import json
import logging
import traceback
from collections.abc import Iterator

logger = logging.getLogger("multimodal.ingest")


def report_unexpected(error: BaseException, event: str, file_id: str | None = None) -> None:
    """One JSON line with types and frames only: the messages of foreign exceptions may hold user content."""
    causes = [
        {"error": type(cause).__qualname__, "traceback": "".join(traceback.format_tb(cause.__traceback__))}
        for cause in _chain(error)
    ]
    logger.error(json.dumps({"event": event, "file_id": file_id, "causes": causes}))


def _chain(error: BaseException) -> Iterator[BaseException]:
    """The exception, then what it was raised from, and so on."""
    seen: set[int] = set()
    current: BaseException | None = error
    while current is not None and id(current) not in seen:
        seen.add(id(current))
        yield current
        current = current.__cause__ or current.__context__
