"""A decoder process that does what the medium tells it: crash, hang, lie. Started by the pool tests.

The bytes of the "medium" are a word and, behind a space, an argument.
"""

from __future__ import annotations

import os
import socket
import sys
import time
from pathlib import Path

from multimodal.media import wire
from multimodal.media.worker import die_with

HEADERS = {
    "kind": wire.AudioReply(samples=4, format="wav"),
    "huge": wire.ImageReply(rows=10**9, columns=10**9, width=1, height=1, format="png"),
    "wide": wire.ImageReply(rows=1, columns=2049, width=1, height=1, format="png"),
    "ready": wire.ReadyReply(),
    "overloaded": wire.ErrorReply(code="overloaded", message="full", param=None),
    "unsupported": wire.ErrorReply(code="unsupported_media", message="no such codec", param="p.q"),
    "failed": wire.ErrorReply(code="internal_error", message="failed", param=None, detail="why", last=True),
}
PAPER = wire.DocumentReply(text_bytes=4, sizes=[[0, 0]], page_count=1, format="pdf")
RAW = {
    "paper": wire.frame_header(PAPER) + b"null",
    "pages": wire.frame_header(PAPER.model_copy(update={"page_count": 501})),
    "long": wire.LENGTH.pack(0xFFFFFFFF),
    "text": wire.LENGTH.pack(5) + b"hello",
    "pickle": wire.LENGTH.pack(14) + b"cos\nsystem\n(R.",
}
PICTURE = wire.ImageReply(rows=2, columns=3, width=20, height=30, format="png")
PIXELS = bytes(range(18))


def main() -> None:
    mode, parent = sys.argv[1:]
    if mode == "broken":
        sys.exit(3)
    die_with(int(parent))
    connection = socket.socket(fileno=os.dup(0))
    if mode == "stubborn":
        hang()
    read_header(connection)
    connection.sendall(wire.frame_header(wire.ReadyReply()))
    while header := read_header(connection):
        request = wire.RequestHeader.model_validate_json(header)
        word, _, argument = read(connection, request.data_bytes).decode().partition(" ")
        obey(connection, word, argument)


def obey(connection: socket.socket, word: str, argument: str) -> None:
    if word == "hang":
        Path(argument).touch()
        hang()
    elif word == "half":
        connection.sendall(wire.frame_header(PICTURE) + PIXELS[:7])
        Path(argument).touch()
        hang()
    elif word == "signal":
        os.kill(os.getpid(), int(argument))
        hang()
    elif word == "exit":
        os._exit(int(argument))
    elif word == "slow":
        connection.sendall(wire.frame_header(wire.DurationReply(seconds=float(argument))))
        time.sleep(1.5)
        connection.sendall(wire.frame_header(wire.AudioReply(samples=1, format="wav")) + bytes(4))
    elif word in HEADERS:
        connection.sendall(wire.frame_header(HEADERS[word]))
    elif word in RAW:
        connection.sendall(RAW[word])
    else:
        connection.sendall(wire.frame_header(PICTURE) + PIXELS)


def hang() -> None:
    while True:
        time.sleep(60)


def read_header(connection: socket.socket) -> bytes:
    length = read(connection, wire.LENGTH.size)
    return read(connection, wire.LENGTH.unpack(length)[0]) if length else b""


def read(connection: socket.socket, size: int) -> bytes:
    return connection.recv(size, socket.MSG_WAITALL)


if __name__ == "__main__":
    main()
