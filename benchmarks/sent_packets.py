"""Which packets a library hands to FFmpeg's video decoders in this process: each is a frame that is decoded.

decord tells nobody. So the entry of `avcodec_send_packet` in the tables by which a library calls others (ELF,
64-bit Linux) is replaced for a while with a function that counts and calls the real one.
"""

from __future__ import annotations

import ctypes
import mmap
import struct
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path

FUNCTION = "avcodec_send_packet"

_SEND = ctypes.CFUNCTYPE(ctypes.c_int, ctypes.c_void_p, ctypes.c_void_p)
_MEDIA_TYPE_AT = 12
"""Of `codec_type` in AVCodecContext; 0 is video (libavcodec/avcodec.h, since version 57)."""
_PTS_AT, _SIZE_AT = 8, 32
"""Of `pts` and `size` in AVPacket (libavcodec/packet.h)."""

_PT_LOAD, _PT_DYNAMIC = 1, 2
_DT_STRTAB, _DT_SYMTAB, _DT_RELA, _DT_RELASZ, _DT_PLTRELSZ, _DT_JMPREL = 5, 6, 7, 8, 2, 23
"""elf(5)."""
_SYMBOL_BYTES = 24
_READ_WRITE = 3


@contextmanager
def sent_packets(library: Path) -> Iterator[list[int]]:
    """Presentation times, in units of the stream, of the video packets that `library` sends meanwhile.

    The library must have decoded something before, or its table may not be filled in yet. RuntimeError where
    it is not loaded, or does not call the function through a table.
    """
    slots = [_base(library) + at for at in entries_of(library.read_bytes(), FUNCTION)]
    if not slots:
        raise RuntimeError(f"{library.name} has no entry for {FUNCTION}.")
    sent: list[int] = []
    with ExitStack() as stack:
        for slot in slots:
            stack.enter_context(_replaced(slot, sent))
        yield sent


@contextmanager
def _replaced(slot: int, sent: list[int]) -> Iterator[None]:
    page = slot & -mmap.PAGESIZE
    libc = ctypes.CDLL(None, use_errno=True)
    if libc.mprotect(ctypes.c_void_p(page), ctypes.c_size_t(2 * mmap.PAGESIZE), _READ_WRITE):
        raise RuntimeError(f"The table with {FUNCTION} cannot be changed.")
    entry = ctypes.c_void_p.from_address(slot)
    real = entry.value or 0
    call = _SEND(real)

    def counting(context: int, packet: int | None) -> int:
        if packet and _is_video(context) and ctypes.c_int.from_address(packet + _SIZE_AT).value:
            sent.append(ctypes.c_int64.from_address(packet + _PTS_AT).value)
        return int(call(context, packet))

    ours = _SEND(counting)
    entry.value = ctypes.cast(ours, ctypes.c_void_p).value
    try:
        yield
    finally:
        entry.value = real


def _is_video(context: int) -> bool:
    return ctypes.c_int.from_address(context + _MEDIA_TYPE_AT).value == 0


def _base(library: Path) -> int:
    """Where its first byte lies in this process."""
    for line in Path("/proc/self/maps").read_text(encoding="utf-8").splitlines():
        fields = line.split(maxsplit=5)
        if len(fields) == 6 and int(fields[2], 16) == 0 and Path(fields[5]) == library.resolve():
            return int(fields[0].partition("-")[0], 16)
    raise RuntimeError(f"{library.name} is not loaded.")


def entries_of(elf: bytes, function: str) -> list[int]:
    """Where in a 64-bit library, once loaded, its pointers to a function of another one lie."""
    segments = list(_segments(elf))
    dynamic = next((at, size) for kind, at, _, size in segments if kind == _PT_DYNAMIC)
    tags = dict(struct.iter_unpack("<QQ", elf[dynamic[0] : dynamic[0] + dynamic[1]]))

    def place(address: int) -> int:
        return next(
            at + address - start
            for kind, at, start, size in segments
            if kind == _PT_LOAD and start <= address < start + size
        )

    names, symbols = place(tags[_DT_STRTAB]), place(tags[_DT_SYMTAB])
    found = []
    for table, size in ((_DT_JMPREL, _DT_PLTRELSZ), (_DT_RELA, _DT_RELASZ)):
        if table not in tags:
            continue
        start = place(tags[table])
        for offset, info, _ in struct.iter_unpack("<QQq", elf[start : start + tags[size]]):
            (name_at,) = struct.unpack_from("<I", elf, symbols + (info >> 32) * _SYMBOL_BYTES)
            at = names + name_at
            if info >> 32 and elf[at : elf.index(b"\0", at)] == function.encode():
                found.append(offset)
    return found


def _segments(elf: bytes) -> Iterator[tuple[int, int, int, int]]:
    """Kind, offset in the file, address and size in the file of each program header."""
    (first,) = struct.unpack_from("<Q", elf, 32)
    size, count = struct.unpack_from("<HH", elf, 54)
    for number in range(count):
        kind, _, offset, address, _, in_file = struct.unpack_from("<IIQQQQ", elf, first + number * size)
        yield kind, offset, address, in_file
