"""The layers that Serve puts around its HTTP proxy.

Serve calls `layers` in the proxy's process where the environment says
RAY_SERVE_HTTP_PROXY_CALLBACK_IMPORT_PATH=deployments.proxy.layers.
"""

from __future__ import annotations

from starlette.middleware import Middleware

from deployments.flow import bound_proxy
from multimodal.api.file_pieces import PiecewiseDownloads
from multimodal.api.proxied import ProxyEnvelope


def layers() -> list[Middleware]:
    """From the inside out. The proxy takes requests after this call."""
    bound_proxy()
    return [Middleware(PiecewiseDownloads), Middleware(ProxyEnvelope)]
