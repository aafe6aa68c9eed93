"""What Ray and Ray Serve read from the environment, for every way to start them.

`make install` has every process of the virtual environment begin with `apply`, so that a plain `serve run` is
as closed and as fast as `make run`. What the environment says already is left as it is.
"""

from __future__ import annotations

import os
import sys
from collections.abc import MutableMapping
from pathlib import Path

PROXY = "multimodal-haproxy"

COMMANDS = ("serve", "ray")

DEFAULTS = {
    # Ray's way of saying "one machine": every process of it then listens on 127.0.0.1 only. Clusters set 1.
    "RAY_ENABLE_WINDOWS_OR_OSX_CLUSTER": "0",
    # Ray takes log lines that differ in numbers only for repetitions, and drops them.
    "RAY_DEDUP_LOGS": "0",
    # Without it Serve answers in plain text where Gateway cannot.
    "RAY_SERVE_HTTP_PROXY_CALLBACK_IMPORT_PATH": "deployments.proxy.layers",
    # HAProxy gives requests to Gateway itself; Serve's own proxy is a process more, in Python.
    "RAY_SERVE_ENABLE_HA_PROXY": "1",
    "RAY_SERVE_HAPROXY_NBTHREAD": "1",
    "RAY_SERVE_HAPROXY_METRICS_ENABLED": "0",
    "RAY_SERVE_HAPROXY_TUNE_BUFSIZE": "65536",
    # A Gateway that is busy is not gone: Serve's controller says when one is.
    "RAY_SERVE_HAPROXY_HEALTH_CHECK_FALL": "5",
    "RAY_SERVE_HAPROXY_HEALTH_CHECK_FASTINTER": "2s",
    "RAY_SERVE_HAPROXY_HEALTH_CHECK_RISE": "1",
    "RAY_SERVE_HAPROXY_TIMEOUT_CLIENT_S": "7200",
    # HAProxy begins anew with each change of the Gateways; the one before ends what it has begun.
    "RAY_SERVE_HAPROXY_HARD_STOP_AFTER_S": "7200",
    "RAY_SERVE_DIRECT_INGRESS_MIN_DRAINING_PERIOD_S": "1",
    # Calls by value are small (deployments/calls.py); what comes of them is at most this.
    "RAY_SERVE_REPLICA_GRPC_MAX_MESSAGE_LENGTH": str(64 * 1024 * 1024),
    # What Serve does all the time, less often: its controller looks at everything ten times a second by
    # default, and so does each replica report its metrics.
    "RAY_SERVE_CONTROL_LOOP_INTERVAL_S": "0.5",
    "RAY_SERVE_METRICS_EXPORT_INTERVAL_MS": "2000",
    # How often Ray looks for new log files, however few there are.
    "RAY_LOG_MONITOR_MANY_FILES_THRESHOLD": "0",
    "LOG_NAME_UPDATE_INTERVAL_S": "2",
    # What went with a machine is lost. Ray would have who waits for it wait for ten minutes.
    "RAY_fetch_fail_timeout_milliseconds": "5000",
    # OpenMP's threads spin while they wait for each other, for some 100 ms as libgomp would have it, in time
    # that others do not get. Much less would have them sleep whenever one gives up its core for a moment.
    "GOMP_SPINCOUNT": "100000",
    # One event loop in each replica: no call changes threads.
    "RAY_SERVE_RUN_USER_CODE_IN_SEPARATE_THREAD": "0",
    "RAY_SERVE_RUN_ROUTER_IN_SEPARATE_LOOP": "0",
}


HAPROXY_FILES = {
    "RAY_SERVE_HAPROXY_CONFIG_FILE_LOC": "haproxy.cfg",
    "RAY_SERVE_HAPROXY_SOCKET_PATH": "admin.sock",
    "RAY_SERVE_HAPROXY_SERVER_STATE_BASE": "",
    "RAY_SERVE_HAPROXY_SERVER_STATE_FILE": "server-state",
}
"""Serve's default is one folder for all users of the machine."""


def defaults(env: MutableMapping[str, str], haproxy_folder: Path | None = None) -> None:
    """Add what `env` does not say. The folder is this user's own by default; it need not be there yet."""
    if env.get("RAY_ENABLE_WINDOWS_OR_OSX_CLUSTER", "0").lower() in ("1", "true"):
        # HAProxy of one node would need Gateways that listen beyond the others.
        env.setdefault("RAY_SERVE_ENABLE_HA_PROXY", "0")
    folder = haproxy_folder or Path(f"/tmp/multimodal-haproxy-{os.getuid()}")
    for name, file in HAPROXY_FILES.items():
        env.setdefault(name, str(folder / file))
    for name, value in DEFAULTS.items():
        env.setdefault(name, value)
    env.setdefault("RAY_SERVE_HAPROXY_BINARY_PATH", str(Path(sys.prefix) / "bin" / PROXY))


def apply() -> None:
    """Add what the environment does not say, if this process is one of Ray's commands: all that they start
    inherits it. Other programs, such as tests in Serve's local testing mode, get Serve's own defaults."""
    if len(sys.orig_argv) > 1 and Path(sys.orig_argv[1]).name in COMMANDS:
        defaults(os.environ)
