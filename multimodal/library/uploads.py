"""Bytes that a client is sending."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from contextlib import contextmanager

from multimodal.storage import ContentStore, StagedObject

HEAD_BYTES = 64 * 1024
"""What is kept of the first bytes, to recognise the format (see `multimodal.media.sniff.recognise`)."""


class StagedUpload:
    """Implements `multimodal.library.files.Upload`.

    An abort may come from another thread, when the client goes away: it waits for what is under way.
    """

    def __init__(self, tenant: str, contents: ContentStore) -> None:
        self.tenant = tenant
        self.head = b""
        """Its first bytes, HEAD_BYTES of them at most."""
        self.staged: StagedObject = contents.begin()
        self._contents = contents
        self._lock = threading.Lock()
        self._open = True

    def write(self, data: bytes) -> None:
        """Append, hashing on the way. Raises StageUnavailable."""
        with self._lock:
            self._require_open()
            self.staged.write(data)
            if len(self.head) < HEAD_BYTES:
                self.head += data[: HEAD_BYTES - len(self.head)]

    def abort(self) -> None:
        """Forget it; does nothing once it was added, or aborted."""
        with self._lock:
            if self._open:
                self._open = False
                self._contents.discard(self.staged)

    @contextmanager
    def adding(self) -> Iterator[StagedObject]:
        """What was written. Where the body ends well, this upload is over."""
        with self._lock:
            self._require_open()
            yield self.staged
            self._open = False

    def _require_open(self) -> None:
        if not self._open:
            raise RuntimeError("this upload was added or aborted")
