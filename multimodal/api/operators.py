"""Who may ask how the server is, beside who may use it."""

from __future__ import annotations

from multimodal.config import ApiArgs
from multimodal.errors import Forbidden


def require_operator(tenant: str, args: ApiArgs) -> None:
    """Raise Forbidden where keys tell tenants apart and this one is none of the operators.

    Without keys nobody but this machine is served, and whoever runs programs on it may ask.
    """
    if args.keys and tenant not in args.operators:
        raise Forbidden(
            "Only operators may ask this. Whoever runs the server can add this key's tenant to api.operators."
        )
