"""The graph without weights, for tests of what is around it.

Without `from __future__ import annotations`: see `deployments.app`.
"""

from ray.serve import Application

from deployments.app import build
from multimodal.config import AppArgs
from tests.e2e.obedient import OBEDIENT
from tests.integration.graph.backends import FAKES


def app(args: AppArgs) -> Application:
    """Like `deployments.app:app`."""
    return build(args, FAKES)


def obedient(args: AppArgs) -> Application:
    """The same with stages that wait where a request says so."""
    return build(args, OBEDIENT)
