"""DocumentEncoder: the pages of a document as chunks of text and as pictures, through the other encoders."""

from __future__ import annotations

from functools import partial

from deployments.calls import Call, Handle
from deployments.lanes import Few
from deployments.replica import ReportsMetrics, count_batch, refuse_if_late
from deployments.sharing import Shared
from multimodal.config import AppArgs
from multimodal.encoders.document import understand_document
from multimodal.identity import FeatureKey
from multimodal.types import (
    Document,
    DocumentFeatures,
    Image,
    ImageFeatures,
    ImageText,
    MediaKind,
    RequestContext,
)


class DocumentEncoder(ReportsMetrics):
    """Sends each page to ImageEncoder, and those that are scanned to Reader, all at once."""

    def __init__(self, args: AppArgs, image_encoder: Handle, reader: Handle) -> None:
        self._args = args.document
        self._encode_image = Call[ImageFeatures](image_encoder, "encode", args.image.timeout_s)
        self._read = Call[ImageText](reader, "read", args.reader.timeout_s)
        self._few = Few()
        self._shared = Shared(args.cache)

    async def read(
        self, ctx: RequestContext, document: Document, key: FeatureKey | None = None
    ) -> DocumentFeatures:
        """What the pages of a document say, and how they look."""
        refuse_if_late(ctx)
        return await self._shared(ctx, key, DocumentFeatures, partial(self._read_one, ctx, document))

    async def _read_one(self, ctx: RequestContext, document: Document) -> DocumentFeatures:
        count_batch(self, MediaKind.DOCUMENT, 1)
        return await understand_document(
            ctx,
            document,
            encode_image=self._on_image,
            read=self._on_text,
            chunk_words=self._args.chunk_words,
        )

    async def _on_image(self, ctx: RequestContext, page: Image) -> ImageFeatures:
        async with self._few(ctx):
            return await self._encode_image(ctx, page)

    async def _on_text(self, ctx: RequestContext, page: Image) -> ImageText:
        async with self._few(ctx):
            return await self._read(ctx, page)
