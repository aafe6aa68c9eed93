"""Our graph over an engine that only ticks; all other models do nothing.

Without `from __future__ import annotations`: see `deployments.app`.
"""

import os
from dataclasses import replace

from ray.serve import Application

from benchmarks.fanout.ticking import TickingGenerator
from benchmarks.graph_tax.app import NOOP
from deployments.app import build
from multimodal.config import AppArgs

STEP_MS = "MULTIMODAL_FANOUT_STEP_MS"
"""Environment variable: what the graph's own arguments have no place for."""


def app(args: AppArgs) -> Application:
    """Like `deployments.app:app`."""
    return build(
        args, replace(NOOP, generator=lambda args: TickingGenerator(1e-3 * float(os.environ[STEP_MS])))
    )
