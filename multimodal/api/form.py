"""The parts of multipart/form-data as they come in.

`python_multipart` finds the parts, this module says which are taken and how large they may be. Its ready-made
form parsers hold back neither a file that is over a limit nor a body that was cut off.
"""

from __future__ import annotations

import re
from collections.abc import Collection

from python_multipart import MultipartParser
from python_multipart.exceptions import FormParserError
from python_multipart.multipart import parse_options_header

from multimodal.errors import InvalidRequest, MediaTooLarge
from multimodal.media.limits import readable_bytes

FILE = "file"
"""The field of the file."""

MAX_PARTS = 200
"""Fields and files of one form. OpenAI's longest has about twenty."""

MAX_TEXT_BYTES = 1024 * 1024
"""All text fields of one form together."""


def file_too_large(limit_bytes: int) -> MediaTooLarge:
    """What is said of a file over the limit."""
    return MediaTooLarge(
        f"This file may have {readable_bytes(limit_bytes)}, and it has more. "
        "Send a smaller or more compressed one.",
        param=FILE,
    )


_FIELD = re.compile(r"(?P<name>[^\[\]]+)(?:\[(?P<key>[^\[\]]*)\])?")


class Form:
    """One form while it comes in: text fields, and what was not yet written of the file."""

    def __init__(self, boundary: bytes, names: Collection[str], limit_bytes: int) -> None:
        self._names = names
        self._limit_bytes = limit_bytes
        self._parts = self._text_bytes = self._file_bytes = self.gathered_bytes = 0
        self._texts: list[tuple[str, bytearray]] = []
        self._pieces: list[bytes] = []
        self._file: dict[bytes, bytes] | None = None
        """Headers of the file, once it has begun."""
        self._whole = False
        self._in_file = False
        self._headers: dict[bytes, bytes] = {}
        self._header_name = self._header_value = b""
        try:
            self._parser = MultipartParser(
                boundary,
                {
                    "on_part_begin": self._on_part_begin,
                    "on_header_field": self._on_header_field,
                    "on_header_value": self._on_header_value,
                    "on_header_end": self._on_header_end,
                    "on_headers_finished": self._on_headers_finished,
                    "on_part_data": self._on_part_data,
                    "on_end": self._on_end,
                },
            )
        except FormParserError:
            raise InvalidRequest("The boundary of the parts is too long.") from None

    def feed(self, chunk: bytes) -> None:
        """Raises InvalidRequest and MediaTooLarge."""
        try:
            self._parser.write(chunk)
        except FormParserError:
            raise InvalidRequest(
                "The body is not valid multipart/form-data: its parts do not follow the boundary that the "
                "Content-Type names, or a part has malformed headers."
            ) from None

    def require_whole(self) -> None:
        """Raises InvalidRequest where the last boundary did not come."""
        if not self._whole:
            raise InvalidRequest("The form ends before its last boundary: it was cut off. Send it again.")

    def take(self) -> list[bytes]:
        """What was not yet written of the file."""
        pieces, self._pieces, self.gathered_bytes = self._pieces, [], 0
        return pieces

    @property
    def has_file(self) -> bool:
        """Whether the file has begun."""
        return self._file is not None

    @property
    def declared_type(self) -> str | None:
        """Content-Type of the file, lower case and without parameters."""
        declared, _ = parse_options_header((self._file or {}).get(b"content-type"))
        return declared.decode("latin-1") or None

    @property
    def filename(self) -> str | None:
        """Name of the file as the client gave it; never trusted."""
        _, options = parse_options_header((self._file or {}).get(b"content-disposition"))
        return options[b"filename"].decode("utf-8", "replace") if b"filename" in options else None

    @property
    def file_bytes(self) -> int:
        """What came of the file so far."""
        return self._file_bytes

    def values(self) -> dict[str, object]:
        """The text fields as an object. Raises InvalidRequest."""
        values: dict[str, object] = {}
        for name, raw in self._texts:
            found = _FIELD.fullmatch(name)
            if found and found["name"] in self._names and raw:
                _insert(values, found["name"], found["key"], _text(found["name"], raw))
        return values

    def _on_part_begin(self) -> None:
        self._parts += 1
        if self._parts > MAX_PARTS:
            raise InvalidRequest(f"A form may have {MAX_PARTS} fields. Send fewer.")
        self._headers = {}

    def _on_header_field(self, data: bytes, start: int, end: int) -> None:
        self._header_name += data[start:end]

    def _on_header_value(self, data: bytes, start: int, end: int) -> None:
        self._header_value += data[start:end]

    def _on_header_end(self) -> None:
        self._headers[self._header_name.lower()] = self._header_value
        self._header_name = self._header_value = b""

    def _on_headers_finished(self) -> None:
        _, options = parse_options_header(self._headers.get(b"content-disposition"))
        if b"name" not in options:
            raise InvalidRequest("Every part of the form needs a Content-Disposition header with a name.")
        name = options[b"name"].decode("utf-8", "replace")
        self._in_file = name == FILE
        if self._in_file and self._file is None:
            self._file = self._headers
        elif self._in_file or b"filename" in options:
            raise InvalidRequest(f"Send one file, in the field {FILE}, and text in all others.", param=FILE)
        else:
            self._texts.append((name, bytearray()))

    def _on_part_data(self, data: bytes, start: int, end: int) -> None:
        if not self._in_file:
            self._text_bytes += end - start
            if self._text_bytes > MAX_TEXT_BYTES:
                raise InvalidRequest(f"The text of a form may have {readable_bytes(MAX_TEXT_BYTES)}.")
            self._texts[-1][1].extend(data[start:end])
            return
        self._file_bytes += end - start
        if self._file_bytes > self._limit_bytes:
            raise file_too_large(self._limit_bytes)
        self._pieces.append(data[start:end])
        self.gathered_bytes += end - start

    def _on_end(self) -> None:
        self._whole = True


def _text(name: str, raw: bytes | bytearray) -> str:
    if 0 in raw:
        raise InvalidRequest(f"{name}: a NUL character (U+0000) is not text; remove it.", param=name)
    try:
        return raw.decode()
    except UnicodeDecodeError:
        raise InvalidRequest(f"{name} must be text in UTF-8.", param=name) from None


def _insert(values: dict[str, object], name: str, key: str | None, text: str) -> None:
    """Put a field where its name says: `name`, `name[]` or `name[key]`. A repeated name makes a list."""
    if not key:
        items = values.get(name)
        if items is None:
            values[name] = text if key is None else [text]
            return
        if isinstance(items, str | list):
            values[name] = [*([items] if isinstance(items, str) else items), text]
            return
    else:
        members = values.setdefault(name, {})
        if isinstance(members, dict) and key not in members:
            members[key] = text
            return
    raise InvalidRequest(f"{name} must be given once.", param=name)
