"""The HTTP surface: OpenAI's API over a `Service`. JSON and SSE exist only here.

Life of a request: `exchange` names it and answers for every error, `auth` finds the tenant, `limits` counts
the body, an endpoint (`chat`, `transcription` and so on) parses it into frozen messages and hands them to the
service.
"""

from multimodal.api.app import create_app
from multimodal.api.service import Service

__all__ = ["Service", "create_app"]
