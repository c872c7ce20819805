"""A header and named arrays in one safetensors file, protected as a whole by a checksum.

The header is JSON under the metadata key `so3krates`. Its entry `file_sha256` is the SHA-256 of all bytes of the file
with these 64 digits themselves taken as zeros, so that no byte can change unnoticed, not even padding.
"""

import hashlib
import json
import re
import struct
from collections.abc import Mapping
from typing import Any, NamedTuple

import numpy as np
import safetensors.numpy
from safetensors import SafetensorError

from so3krates._errors import FileError

METADATA_KEY = "so3krates"
_NO_DIGEST = b"0" * 64
# Quotes are escaped since the header is a JSON string inside JSON. A string *in* the header is escaped once more and
# cannot match.
_DIGEST = re.compile(rb'\\"file_sha256\\": \\"([^"\\]{64})\\"')
_DTYPES = ("F32", "F64")


class Contents(NamedTuple):
    """What a file holds."""

    header: dict[str, Any]
    arrays: dict[str, np.ndarray]
    """float32 or float64, by name."""
    sha256: str


def encode(header: Mapping[str, Any], arrays: Mapping[str, np.ndarray]) -> bytes:
    """The bytes of a file; the same input gives the same bytes."""
    text = json.dumps({"file_sha256": _NO_DIGEST.decode(), **header}, allow_nan=False)
    contiguous = {name: np.ascontiguousarray(array).reshape(array.shape) for name, array in arrays.items()}
    data = bytearray(safetensors.numpy.save(contiguous, metadata={METADATA_KEY: text}))
    span = _digest_span(bytes(data))
    assert span is not None
    data[slice(*span)] = hashlib.sha256(data).hexdigest().encode()
    return bytes(data)


def decode(data: bytes, source: str) -> Contents:
    """Header and arrays from the bytes of a file.

    Raises:
        FileError: if it is empty, truncated, of another kind, or a single byte of it has changed.
    """
    span = _digest_span(data)
    outer = _outer_header(data)
    _refuse_truncated(data, outer, source)
    if span is None:
        kind = "a safetensors file that holds no so3krates model" if outer else "not a so3krates model file"
        raise FileError(f"'{source}' is {kind}; `so3krates convert` reads the files of other implementations.")
    blank = bytearray(data)
    blank[slice(*span)] = _NO_DIGEST
    digest = hashlib.sha256(blank).hexdigest()
    if digest.encode() != data[slice(*span)]:
        raise FileError(f"'{source}' is damaged: its checksum does not match its content; copy the file again.")
    return _parsed(data, outer, digest, source)


def _parsed(data: bytes, outer: dict[str, Any] | None, digest: str, source: str) -> Contents:
    """The checksum is right, so that a failure here means that the file was made wrong."""
    try:
        assert outer is not None
        header = json.loads(outer["__metadata__"][METADATA_KEY])
        dtypes = {name: entry["dtype"] for name, entry in outer.items() if name != "__metadata__"}
        unusual = sorted(name for name, dtype in dtypes.items() if dtype not in _DTYPES)
        if unusual:
            raise FileError(f"'{source}': parameter '{unusual[0]}' is {dtypes[unusual[0]]}; expected F32 or F64.")
        arrays = safetensors.numpy.load(data)
    except (SafetensorError, AssertionError, KeyError, TypeError, ValueError) as error:
        raise FileError(f"'{source}' is not a valid safetensors file: {error}.") from error
    header.pop("file_sha256")
    return Contents(header, arrays, digest)


def _digest_span(data: bytes) -> tuple[int, int] | None:
    """Where the 64 digits stand; None if there is not exactly one place."""
    found = list(_DIGEST.finditer(data, 0, min(8 + _header_length(data), len(data))))
    return found[0].span(1) if len(found) == 1 else None


def _header_length(data: bytes) -> int:
    return struct.unpack("<Q", data[:8])[0] if len(data) >= 8 else 0


def _outer_header(data: bytes) -> dict[str, Any] | None:
    """The JSON at the start of every safetensors file, or None if there is none."""
    length = _header_length(data)
    if len(data) < 8 + length:
        return None
    try:
        outer = json.loads(data[8 : 8 + length])
    except (ValueError, RecursionError):
        return None
    return outer if isinstance(outer, dict) else None


def _refuse_truncated(data: bytes, outer: dict[str, Any] | None, source: str) -> None:
    if not data:
        raise FileError(f"'{source}' is empty.")
    begins_like_one = data[8:10] == b'{"' and b"__metadata__" in data[:64]
    if outer is None:
        if begins_like_one and len(data) < 8 + _header_length(data):
            raise FileError(f"'{source}' is truncated or damaged: it ends within its header; copy the file again.")
        return
    try:
        ends = [entry["data_offsets"][1] for name, entry in outer.items() if name != "__metadata__"]
        need = 8 + _header_length(data) + max(ends, default=0)
    except (KeyError, TypeError, IndexError):
        return
    if len(data) < need:
        raise FileError(f"'{source}' is truncated: it holds {len(data)} of {need} bytes; copy the file again.")
