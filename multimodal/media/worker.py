"""The process that decodes: `python -m multimodal.media.worker <pid of the pool>`.

It talks over the socket that is its standard input (see `wire`). It has as much address space as its
settings allow, cannot grow a file, leaves no core dump, and dies with the thread that started it.
"""

from __future__ import annotations

import ctypes
import importlib
import os
import resource
import signal
import socket
import sys
import traceback

from multimodal.config import LoaderArgs
from multimodal.errors import MediaTooLarge, MultimodalError
from multimodal.media import payload, wire
from multimodal.media.decoder import decode
from multimodal.media.limits import readable_bytes

_PR_SET_PDEATHSIG = 1
"""Linux, prctl(2): the signal that this process gets when the thread that started it ends."""

_DETAIL_CHARS = 4000


def main() -> None:
    """Serve until the pool closes the socket."""
    die_with(int(sys.argv[1]))
    connection = socket.socket(fileno=os.dup(0))
    _warm_up()
    setup = wire.SetupHeader.model_validate_json(_read_header(connection))
    confine(setup.args.worker_memory_bytes)
    _silence()
    connection.sendall(wire.frame_header(wire.ReadyReply()))
    while _serve_one(connection, setup):
        pass


def die_with(parent: int) -> None:
    """Never outlive the pool: not when it is killed, and not when this process hangs."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    ctypes.CDLL(None, use_errno=True).prctl(_PR_SET_PDEATHSIG, signal.SIGKILL, 0, 0, 0)
    if os.getppid() != parent:
        os._exit(0)


def confine(memory_bytes: int) -> None:
    """Limit the address space; no core dumps, no files."""
    _, hard = resource.getrlimit(resource.RLIMIT_AS)
    limit = memory_bytes if hard == resource.RLIM_INFINITY else min(memory_bytes, hard)
    resource.setrlimit(resource.RLIMIT_AS, (limit, limit))
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    resource.setrlimit(resource.RLIMIT_FSIZE, (0, 0))


def _warm_up() -> None:
    """Import the decoders now, not while a request waits."""
    for module in ("decord", "multimodal.media.decode_image", "multimodal.media.decode_video"):
        importlib.import_module(module)


def _silence() -> None:
    """Decoders write pages about damaged data; whatever went wrong before this line may still be read."""
    null = os.open(os.devnull, os.O_WRONLY)
    os.dup2(null, 2)
    os.close(null)


def _serve_one(connection: socket.socket, setup: wire.SetupHeader) -> bool:
    """Answer one request. False: the pool has gone, or this process is of no more use."""
    header = _read_header(connection)
    if not header:
        return False
    request = wire.RequestHeader.model_validate_json(header)
    source = request.source(_read(connection, request.data_bytes))

    def on_duration(seconds: float) -> None:
        connection.sendall(wire.frame_header(wire.DurationReply(seconds=seconds)))

    try:
        limits = setup.limits_of(request.stored)
        media = decode(source, limits, setup.args, sha256=request.sha256, on_duration=on_duration)
        reply, arrays = payload.pack_media(media)
    except MemoryError:
        connection.sendall(wire.frame_header(_out_of_memory(setup.args, request.param)))
        return False
    except MultimodalError as error:
        connection.sendall(wire.frame_header(_reported(error)))
        return True
    except Exception:
        connection.sendall(wire.frame_header(_unexpected(request.param)))
        return False
    connection.sendall(wire.frame_header(reply))
    for array in arrays:
        connection.sendall(array.data.cast("B"))
    return True


def _reported(error: MultimodalError) -> wire.ErrorReply:
    return wire.ErrorReply(code=error.code, message=error.message, param=error.param)


def _out_of_memory(args: LoaderArgs, param: str) -> wire.ErrorReply:
    memory = readable_bytes(args.worker_memory_bytes)
    message = f"Decoding this needs more than the {memory} that a decoder has. Send a smaller one."
    return wire.ErrorReply(code=MediaTooLarge.code, message=message, param=param, last=True)


def _unexpected(param: str) -> wire.ErrorReply:
    detail = traceback.format_exc()[-_DETAIL_CHARS:]
    message = "The decoder failed on this part."
    return wire.ErrorReply(code=MultimodalError.code, message=message, param=param, detail=detail, last=True)


def _read_header(connection: socket.socket) -> bytes:
    """Empty where the pool has closed the socket."""
    length = _read(connection, wire.LENGTH.size)
    return _read(connection, wire.LENGTH.unpack(length)[0]) if length else b""


def _read(connection: socket.socket, size: int) -> bytes:
    """Exactly `size` bytes, or none where the pool has closed the socket."""
    buffer = bytearray(size)
    view, filled = memoryview(buffer), 0
    while filled < size:
        received = connection.recv_into(view[filled:])
        if not received:
            return b""
        filled += received
    return bytes(buffer)


if __name__ == "__main__":
    main()
