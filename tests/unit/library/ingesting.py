"""An Ingestor with everything that it needs in memory."""

from __future__ import annotations

import asyncio
from dataclasses import dataclass, field

from multimodal.config import AppArgs, LibraryArgs, LoaderArgs
from multimodal.library.ingest import Ended, Ingest
from multimodal.types import Transcript, TranscriptSegment
from tests.encoder_fakes import vector_of
from tests.fakes import FakeGenerator
from tests.library_fakes import FakeLibraryStages, FakeShelf

LONG_S = 1e6


@dataclass
class Bench:
    """`sleeps` has how long the Ingestor wanted to sleep; it never does, unless `awake` is cleared."""

    library: LibraryArgs = field(default_factory=lambda: LibraryArgs(lease_s=LONG_S, file_timeout_s=LONG_S))
    loader: LoaderArgs = field(default_factory=LoaderArgs)
    stages: FakeLibraryStages = field(
        default_factory=lambda: FakeLibraryStages(picture=vector_of("red"), generator=FakeGenerator())
    )
    shelf: FakeShelf = field(default_factory=FakeShelf)
    ended: list[Ended] = field(default_factory=list)
    sleeps: list[float] = field(default_factory=list)
    awake: asyncio.Event = field(default_factory=asyncio.Event)

    def __post_init__(self) -> None:
        self.awake.set()

    def ingest(self) -> Ingest:
        """A new one, as after a restart."""
        args = AppArgs(library=self.library, loader=self.loader)
        return Ingest(self.stages, self.shelf, args, on_end=self.ended.append, sleep=self._sleep)

    async def _sleep(self, seconds: float) -> None:
        self.sleeps.append(seconds)
        await asyncio.sleep(0)
        await self.awake.wait()


def speech(*said: tuple[str, float, float], duration_s: float = 60.0) -> Transcript:
    """Words, start and end of each segment."""
    return Transcript(
        segments=tuple(TranscriptSegment(text=text, start_s=start, end_s=end) for text, start, end in said),
        language="en",
        duration_s=duration_s,
    )
