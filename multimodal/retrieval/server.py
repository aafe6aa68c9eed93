"""The index on a Qdrant server or cluster: any number of Retriever replicas may use it at once."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager

from qdrant_client import QdrantClient
from qdrant_client.common.client_exceptions import ResourceExhaustedResponse
from qdrant_client.http.exceptions import ResponseHandlingException, UnexpectedResponse

from multimodal.config import RetrieverArgs
from multimodal.errors import ConfigError, StageUnavailable
from multimodal.retrieval.counted import CountedSegments
from multimodal.retrieval.counts import Counts
from multimodal.retrieval.points import IndexSchema
from multimodal.retrieval.server_points import ServerPoints
from multimodal.retrieval.types import VectorName

COUNTS_LIFETIME_S = 60.0
"""How long the rarity of a word may lag behind what other replicas write. Each count is a request: up to 65
for one search."""
RETRY_AFTER_S = 5
"""A server that restarts loads its collections in seconds."""
_TOO_MANY, _SERVER_FAULT = 429, 500
_REFUSED = (401, 403)


def make_client(url: str, api_key: str | None, timeout_s: float) -> QdrantClient:
    """A client; connects with its first call."""
    return QdrantClient(url=url, api_key=api_key, timeout=max(1, round(timeout_s)), check_compatibility=False)


class QdrantStore(CountedSegments):
    """Implements SegmentStore. Makes the collection where there is none.

    Args:
        client: of the server.
        args: of Retriever.
        sizes: dimensions of the named vectors there are.
        models: which models make them, to notice when they are others; optional.
        owner: id of the library whose segments these are, to notice when it is another; optional. Two
            libraries would delete each other's segments.

    Raises:
        ConfigError: the collection is of another schema, other models or another owner, or the server refuses
            the key.
        StageUnavailable: the server cannot be reached; so does every method.
    """

    def __init__(
        self,
        client: QdrantClient,
        args: RetrieverArgs,
        sizes: Mapping[VectorName, int],
        models: Mapping[VectorName, str] | None = None,
        owner: str | None = None,
    ) -> None:
        super().__init__(sizes, Counts(COUNTS_LIFETIME_S))
        self._client = client
        self._engine = ServerPoints(client, args)
        with _reaching():
            self._engine.ensure(IndexSchema(sizes=sizes, models=models or {}, owner=owner))

    def check_health(self) -> None:
        """Raises StageUnavailable when the server cannot be reached."""
        with _reaching():
            self._engine.check()

    def close(self) -> None:
        """Close the connections."""
        self._client.close()

    @contextmanager
    def _reading(self) -> Iterator[ServerPoints]:
        with _reaching():
            yield self._engine

    _writing = _reading


@contextmanager
def _reaching() -> Iterator[None]:
    """What goes wrong on the way to the server, as an error of ours."""
    try:
        yield
    except ResponseHandlingException as error:
        raise _unreachable() from error
    except ResourceExhaustedResponse as error:
        raise _unreachable(error.retry_after_s) from error
    except UnexpectedResponse as error:
        if error.status_code in _REFUSED:
            raise ConfigError(
                "The Qdrant server refuses the API key: set the variable that retriever.qdrant_api_key_env "
                "names."
            ) from error
        if error.status_code == _TOO_MANY or (error.status_code or _SERVER_FAULT) >= _SERVER_FAULT:
            raise _unreachable() from error
        raise


def _unreachable(retry_after_s: int = RETRY_AFTER_S) -> StageUnavailable:
    return StageUnavailable(
        f"The index cannot be reached. Try again in {retry_after_s} s.", retry_after_s=retry_after_s
    )
