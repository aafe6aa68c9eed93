from __future__ import annotations

import socket
import sys
import time
from pathlib import Path

import pytest

from benchmarks import startup
from multimodal.errors import ConfigError
from multimodal.serving.checks import free_port

SERVER = """
import http.server, json, os, sys

asked = 0

class Api(http.server.BaseHTTPRequestHandler):
    def answer(self, status, body=b""):
        self.send_response(status)
        self.send_header("content-length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def do_GET(self):
        global asked
        asked += 1
        self.answer(200 if asked > 2 else 503)

    def do_POST(self):
        self.rfile.read(int(self.headers["content-length"]))
        usage = {"prompt_tokens": 1, "completion_tokens": 1, "prompt_tokens_details": {"cached_tokens": 0}}
        events = [{"choices": [{"delta": {"content": "hi"}}]}, {"choices": [], "usage": usage}]
        self.answer(200, "".join(f"data: {json.dumps(event)}\\n\\n" for event in events).encode())

    def log_message(self, *arguments):
        pass

print("Starting Ray", flush=True)
server = http.server.HTTPServer((os.environ["MULTIMODAL_HOST"], int(os.environ["MULTIMODAL_PORT"])), Api)
print("Loading", flush=True)
server.serve_forever()
"""


def test_a_start_is_timed_to_ready_and_to_the_first_token_and_is_stopped() -> None:
    measured = startup.measure([sys.executable, "-c", SERVER], free_port(), free_port(), "m")
    assert [phase.line for phase in measured.phases] == ["Starting Ray", "Loading"]
    assert measured.phases[0].at_s <= measured.phases[1].at_s <= measured.ready_s < measured.first_token_s
    assert 0 < measured.first_ttft_s <= measured.first_token_s - measured.ready_s
    assert measured.stopped_s > 0


def test_a_server_that_ends_is_reported_with_its_output() -> None:
    launched = startup.launch([sys.executable, "-c", "print('no memory')"], {})
    launched.process.wait()
    while not launched.phases:
        time.sleep(0.01)
    with pytest.raises(RuntimeError, match="no memory"):
        startup.wait_until_ready(launched, f"http://127.0.0.1:{free_port()}")


def test_another_server_on_the_port_is_not_taken_for_ours() -> None:
    with socket.socket() as other:
        other.bind(("127.0.0.1", 0))
        other.listen()
        with pytest.raises(ConfigError, match="taken"):
            startup.measure([sys.executable, "-c", SERVER], other.getsockname()[1], free_port(), "m")


def test_commands() -> None:
    config = Path("other.yaml")
    assert startup.command_of(config, make=True)[-2:] == ["run", "CONFIG=other.yaml"]
    assert startup.command_of(config, make=False)[-2:] == ["--config", "other.yaml"]
