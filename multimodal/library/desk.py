"""The library as its users see it: files, their bytes and their segments together."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Mapping
from dataclasses import replace

from multimodal.config import AppArgs
from multimodal.errors import MultimodalError, UnsupportedMedia
from multimodal.library.files import FileLibrary, Upload
from multimodal.library.records import Duplicate, FileRecord, SearchAnswer, SearchRequest
from multimodal.library.similar import duplicates_of, perceptual_hash
from multimodal.retrieval.searcher import Searcher
from multimodal.retrieval.types import Scalar
from multimodal.stages import Stages
from multimodal.types import Emit, FileReference, Image, MediaKind, MediaSource, RequestContext

logger = logging.getLogger(__name__)

LOOK_ALIKE_TIMEOUT_S = 5.0
"""How long an upload waits for its near-duplicates; the Ingestor finds them in any case."""

FORGET_TIMEOUT_S = 10.0
"""How long a delete waits for the index; then the sweep does the rest."""


class LibraryDesk:
    """Implements `multimodal.api.service.LibraryService`."""

    def __init__(self, stages: Stages, args: AppArgs, files: FileLibrary) -> None:
        self._stages = stages
        self._args = args
        self._files = files
        self.searcher = Searcher(stages, args, files)

    @property
    def files(self) -> FileLibrary:
        """To list and read files."""
        return self._files

    async def add(
        self,
        ctx: RequestContext,
        upload: Upload,
        *,
        filename: str,
        purpose: str,
        metadata: Mapping[str, Scalar],
    ) -> FileRecord:
        """Keep a file, and name those that it looks like. Raises what `FileLibrary.add` raises."""
        record = await self._files.add(
            ctx.tenant, upload, filename=filename, purpose=purpose, metadata=metadata
        )
        if record.kind is not MediaKind.IMAGE:
            return record
        known = {one.file_id for one in record.duplicates}
        alike = await self._look_alikes(ctx, record)
        return replace(
            record, duplicates=record.duplicates + tuple(one for one in alike if one.file_id not in known)
        )

    async def delete(self, ctx: RequestContext, file_id: str) -> None:
        """Delete a file, its segments and, with the last file that has them, its bytes.

        The file does not exist from the first step on. Where the index cannot be reached, the sweep takes the
        segments out later; until then search drops them, as their file is gone. Raises FileUnknown.
        """
        await self._files.delete(ctx.tenant, file_id)
        try:
            async with asyncio.timeout(FORGET_TIMEOUT_S):
                await self._stages.forget_files(ctx, [file_id])
        except (MultimodalError, TimeoutError) as error:
            logger.warning("segments of a deleted file stay until the next sweep: %s", type(error).__name__)
            return
        await self._files.purge(ctx.tenant, file_id)

    async def search(self, ctx: RequestContext, request: SearchRequest, emit: Emit) -> SearchAnswer:
        """Find segments. Raises what `Searcher.search` raises."""
        return await self.searcher.search(ctx, request, emit)

    async def source(self, ctx: RequestContext, reference: FileReference) -> MediaSource:
        """An uploaded file in the place of a content part. Raises FileUnknown, UnsupportedMedia."""
        try:
            record = await self._files.get(ctx.tenant, reference.file_id)
        except MultimodalError as error:
            error.param = reference.param
            raise
        return chat_source(record, reference)

    async def _look_alikes(self, ctx: RequestContext, record: FileRecord) -> tuple[Duplicate, ...]:
        """Pictures of the tenant that look (nearly) the same. None where that cannot be said in time: the
        file is kept already, and the Ingestor will find them."""
        source = MediaSource(kind=MediaKind.IMAGE, data=b"", param="file", stored=record.content)
        try:
            async with asyncio.timeout(LOOK_ALIKE_TIMEOUT_S):
                picture = await self._stages.load(ctx, source)
                if not isinstance(picture, Image):
                    return ()
                bits = await asyncio.to_thread(perceptual_hash, picture.pixels)
                if bits is None:
                    return ()
                (alike,) = await self._stages.look_alikes(ctx, [bits])
        except (MultimodalError, TimeoutError) as error:
            logger.info("near-duplicates of an upload are left to the Ingestor: %s", type(error).__name__)
            return ()
        # Slides of one layout look alike: whether they say the same the Ingestor finds out, which reads them.
        return duplicates_of(record, [one for one in alike if not one[0].text])


def chat_source(record: FileRecord, reference: FileReference) -> MediaSource:
    """An uploaded file as a chat looks at it. Raises UnsupportedMedia for one of no kind that is known."""
    if record.kind is None:
        raise UnsupportedMedia(
            "This file is none that can be understood here. Name a document, a picture, a recording or a "
            "video.",
            param=reference.param,
        )
    return MediaSource(
        kind=record.kind,
        data=b"",
        param=reference.param,
        declared_type=record.media_type,
        frame_sampling=reference.frame_sampling,
        max_frames=reference.max_frames,
        stored=record.content,
        filename=record.filename,
    )
