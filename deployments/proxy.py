"""The layers that Serve puts around its HTTP server.

Serve calls `layers` in the process of its proxy, and in Gateway where HAProxy stands before it, if the
environment says RAY_SERVE_HTTP_PROXY_CALLBACK_IMPORT_PATH=deployments.proxy.layers.
"""

from __future__ import annotations

from starlette.middleware import Middleware

from deployments.batching import in_replica
from deployments.flow import bound_proxy
from multimodal.api.file_pieces import PiecewiseDownloads
from multimodal.api.proxied import ProxyEnvelope


def layers() -> list[Middleware]:
    """From the inside out. The proxy, or a Gateway that has the connections itself, takes requests after this
    call. In Gateway uvicorn waits for slow clients, and there is nothing to bound."""
    if in_replica():
        return [Middleware(ProxyEnvelope)]
    bound_proxy()
    return [Middleware(PiecewiseDownloads), Middleware(ProxyEnvelope)]
