"""An upload as multipart/form-data, read from the disk while it is sent."""

from __future__ import annotations

import asyncio
import json
import secrets
from collections.abc import AsyncIterator, Callable, Mapping

from multimodal.client.folder import LocalFile
from multimodal.retrieval.types import Scalar

READ_BYTES = 1024 * 1024
"""How much of a file is in memory."""


class FileChanged(Exception):
    """A file is not as long as it was when it was found."""


class UploadForm:
    """The form of one file. Each iteration reads the file anew."""

    def __init__(
        self,
        file: LocalFile,
        *,
        purpose: str,
        metadata: Mapping[str, Scalar],
        sent: Callable[[int], None] = lambda size_bytes: None,
    ) -> None:
        self._file = file
        self._sent = sent
        boundary = secrets.token_hex(16)
        self.content_type = f"multipart/form-data; boundary={boundary}"
        fields = {"purpose": purpose, "metadata": json.dumps(dict(metadata))}
        texts = "".join(
            f'--{boundary}\r\nContent-Disposition: form-data; name="{name}"\r\n\r\n{text}\r\n'
            for name, text in fields.items()
        )
        # The name has no quotes or line breaks: see `filenames`.
        head = f'Content-Disposition: form-data; name="file"; filename="{file.name}"\r\n'
        kind = "Content-Type: application/octet-stream\r\n\r\n"
        self._head = f"{texts}--{boundary}\r\n{head}{kind}".encode()
        self._tail = f"\r\n--{boundary}--\r\n".encode()

    @property
    def size_bytes(self) -> int:
        """Of the whole form."""
        return len(self._head) + self._file.size_bytes + len(self._tail)

    async def __aiter__(self) -> AsyncIterator[bytes]:
        """Raises OSError and FileChanged."""
        yield self._head
        left_bytes = self._file.size_bytes
        # Not on a thread: whoever is cancelled while that opens a file never gets to close it.
        with self._file.path.open("rb") as file:
            while piece := await asyncio.to_thread(file.read, READ_BYTES):
                left_bytes -= len(piece)
                if left_bytes < 0:
                    break
                yield piece
                self._sent(len(piece))
        if left_bytes:
            raise FileChanged
        yield self._tail
