"""Features that are kept with an uploaded file, as long as it is there."""

from __future__ import annotations

import asyncio

from multimodal.config import CacheArgs
from multimodal.storage import ContentStore
from multimodal.types import StoredContent


class BesideContent:
    """Implements `multimodal.cache.features.Beside` for one content.

    Works in threads: coroutines never block. What is written after the content was deleted is swept away, as
    thumbnails are that come late (`multimodal.library.filing`).
    """

    def __init__(self, args: CacheArgs, contents: ContentStore, content: StoredContent) -> None:
        self._args = args
        self._contents = contents
        self._key = content.key

    async def read(self, name: str) -> bytes | None:
        """See `Beside`. What is larger than `stored_bytes` is not there."""
        most_bytes = self._args.stored_bytes
        if not most_bytes:
            return None
        read = self._contents.read_derived
        try:
            data = await asyncio.to_thread(read, self._key, _stored(name), most_bytes + 1)
        except FileNotFoundError:
            return None
        return data if len(data) <= most_bytes else None

    async def write(self, name: str, data: bytes) -> None:
        """See `Beside`."""
        await asyncio.to_thread(self._contents.write_derived, self._key, _stored(name), data)


def _stored(name: str) -> str:
    """Thumbnails lie there, too."""
    return f"feature-{name}"
