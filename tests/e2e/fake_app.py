"""The graph without weights, for tests of what is around it."""

from ray.serve import Application

from deployments.app import build
from multimodal.config import AppArgs
from tests.integration.graph.backends import FAKES


def app(args: AppArgs) -> Application:
    """Like `deployments.app:app`."""
    return build(args, FAKES)
