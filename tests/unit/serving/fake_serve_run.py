"""Stands in for `deployments.serve_run`: the same arguments and no Ray. FAKE_MODE makes it misbehave."""

from __future__ import annotations

import contextlib
import json
import os
import signal
import subprocess
import sys
import threading
import time
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import yaml

MODE = os.environ.get("FAKE_MODE", "")

DAEMON = f"""
import os, signal, time
if {MODE!r} == "deaf daemon":
    signal.signal(signal.SIGTERM, signal.SIG_IGN)
print(os.getpid(), flush=True)
time.sleep(600)
"""
PARENT = (
    f"import subprocess, sys; subprocess.Popen([sys.executable, '-c', {DAEMON!r}], start_new_session=True)"
)


class Api(BaseHTTPRequestHandler):
    """The server; `/readyz` tells what the process was started with."""

    def do_GET(self) -> None:
        if self.path == "/quit":
            os._exit(4)
        self.answer(503 if MODE == "fails" else 200, dict(os.environ))

    def answer(self, status: int, content: object) -> None:
        self.send_response(status)
        self.end_headers()
        self.wfile.write(json.dumps(content).encode())

    def log_message(self, format: str, *args: object) -> None:
        """Quiet."""


class Dashboard(Api):
    """Ray's dashboard."""

    def do_GET(self) -> None:
        broken = {"status": "UNHEALTHY", "message": "Traceback\n  in f\nOSError: no weights\n"}
        app = {"status": "DEPLOY_FAILED", "message": "failed", "deployments": {"Generator": broken}}
        self.answer(200, {"applications": {"default": app} if MODE == "fails" else {}})


def leave_daemon() -> None:
    """A process that has left its session and its parent, as those of vLLM and Ray can."""
    pids = os.environ["FAKE_PIDS"]
    with open(pids, "a") as stream:
        subprocess.run([sys.executable, "-c", PARENT], stdout=stream, check=True)
    while not os.path.getsize(pids):
        time.sleep(0.01)


def main(config: str, dashboard_port: int) -> None:
    leave_daemon()
    if MODE == "dies":
        sys.exit("the disk is on fire")
    if MODE == "stubborn":
        signal.signal(signal.SIGINT, signal.SIG_IGN)
    with open(config) as stream:
        options = yaml.safe_load(stream)["http_options"]
    addresses = ((Dashboard, "127.0.0.1", dashboard_port), (Api, options["host"], options["port"]))
    for handler, host, port in addresses:
        server = ThreadingHTTPServer((host, port), handler)
        threading.Thread(target=server.serve_forever, daemon=True).start()
    print("serving", flush=True)
    with contextlib.suppress(KeyboardInterrupt):
        time.sleep(600)


if __name__ == "__main__":
    main(sys.argv[1], int(sys.argv[2]))
