# Copyright 2026 the prune_perception authors
# SPDX-License-Identifier: Apache-2.0

"""
What a compressed picture says of itself: its kind, its size, and whether it is all there.

OpenCV decodes first and tells afterwards. A decompression bomb must be refused before, and a cut
JPEG, which OpenCV completes with grey, must be refused at all; so the headers are read here.

Formats: ITU-T T.81 (JPEG), the W3C PNG specification, RFC 9649 (WebP), the Windows
BITMAPFILEHEADER and BITMAPINFOHEADER (BMP), Adobe TIFF 6.0.
"""

from __future__ import annotations

from dataclasses import dataclass
import re
import struct

from prune_perception.frames.errors import ImageError

_PNG_SIGNATURE = b'\x89PNG\r\n\x1a\n'
# Start-of-frame markers carry the size; C4, C8 and CC in the same range are other segments.
_JPEG_FRAME_MARKERS = frozenset(range(0xC0, 0xD0)) - {0xC4, 0xC8, 0xCC}
# Markers without a length: TEM, the restart markers and the start of the image.
_JPEG_BARE_MARKERS = frozenset((0x01, *range(0xD0, 0xD9)))
_JPEG_END, _JPEG_SCAN = 0xD9, 0xDA
# In a scan an FF that is data is followed by 00; restart markers and fill bytes are passed too.
_JPEG_MARKER_IN_SCAN = re.compile(rb'\xff[^\x00\xd0-\xd7\xff]')


@dataclass(frozen=True, slots=True)
class PictureHeader:
    """Kind of a compressed picture, its width and height in pixels."""

    kind: str
    width: int
    height: int


def read_header(data: memoryview, format: str) -> PictureHeader:
    """
    Read kind and size without decoding.

    :param data: the compressed bytes.
    :param format: what the sender calls them, for the error only.
    :raises ImageError: not a picture of a known kind, or cut within its header.
    """
    start = bytes(data[:32])
    try:
        if start[:3] == b'\xff\xd8\xff':
            return PictureHeader('JPEG', *_jpeg_size(data))
        if start[:8] == _PNG_SIGNATURE:
            return PictureHeader('PNG', *struct.unpack_from('>II', start, 16))
        if start[:4] == b'RIFF' and start[8:12] == b'WEBP':
            return PictureHeader('WebP', *_webp_size(start))
        if start[:2] == b'BM':
            width, height = struct.unpack_from('<ii', start, 18)
            return PictureHeader('BMP', width, abs(height))  # a negative height is top-down
        if start[:4] in (b'II*\0', b'MM\0*'):
            return PictureHeader('TIFF', *_tiff_size(data))
    except (struct.error, IndexError):
        raise ImageError(f'compressed image of {len(data)} bytes ends within its header') from None
    if not start:
        raise ImageError('compressed image carries no data')
    raise ImageError(
        f'compressed image (format {format!r}) is not a JPEG, PNG, WebP, BMP or TIFF picture; '
        f'its first bytes are {start[:4].hex(" ")}'
    )


def check_complete(data: memoryview, header: PictureHeader) -> None:
    """
    Refuse a JPEG, PNG or WebP whose end is missing; OpenCV itself notices the other kinds.

    :raises ImageError: the picture is cut off.
    """
    complete = {'JPEG': _jpeg_is_complete, 'PNG': _png_is_complete, 'WebP': _webp_is_complete}
    check = complete.get(header.kind)
    if check is not None and not check(data):
        raise ImageError(
            f'{header.kind} picture of {header.width} x {header.height} pixels is cut off after '
            f'{len(data)} bytes'
        )


def _jpeg_segment(data: memoryview, position: int) -> tuple[int, int, int]:
    """Return marker, start of the payload and start of what follows, for the segment there."""
    while data[position] == 0xFF and data[position + 1] == 0xFF:  # fill bytes
        position += 1
    if data[position] != 0xFF:
        raise ImageError(f'JPEG picture has no marker at byte {position}; it is damaged')
    marker = data[position + 1]
    if marker == _JPEG_END or marker in _JPEG_BARE_MARKERS:
        return marker, position + 2, position + 2
    (length,) = struct.unpack_from('>H', data, position + 2)
    return marker, position + 4, position + 2 + length


def _jpeg_size(data: memoryview) -> tuple[int, int]:
    position = 2
    while True:
        marker, payload, position = _jpeg_segment(data, position)
        if marker in _JPEG_FRAME_MARKERS:
            height, width = struct.unpack_from('>HH', data, payload + 1)
            return width, height
        if marker in (_JPEG_END, _JPEG_SCAN):
            raise ImageError('JPEG picture has no frame header; it is damaged')


def _jpeg_is_complete(data: memoryview) -> bool:
    # The end marker is looked for along the segments: a thumbnail in the metadata has one too.
    position = 2
    try:
        while True:
            marker, _, position = _jpeg_segment(data, position)
            if marker == _JPEG_END:
                return True
            if marker == _JPEG_SCAN:
                found = _JPEG_MARKER_IN_SCAN.search(data, position)
                if found is None:
                    return False
                position = found.start()
    except (IndexError, struct.error):
        return False


def _png_is_complete(data: memoryview) -> bool:
    position = len(_PNG_SIGNATURE)
    while position + 12 <= len(data):
        (length,) = struct.unpack_from('>I', data, position)
        if data[position + 4 : position + 8] == b'IEND':
            return True
        position += 12 + length
    return False


def _webp_size(start: bytes) -> tuple[int, int]:
    chunk = start[12:16]
    if chunk == b'VP8 ':
        width, height = struct.unpack_from('<HH', start, 26)
        return width & 0x3FFF, height & 0x3FFF
    if chunk == b'VP8L':
        (bits,) = struct.unpack_from('<I', start, 21)
        return (bits & 0x3FFF) + 1, (bits >> 14 & 0x3FFF) + 1
    if chunk == b'VP8X':
        width = int.from_bytes(start[24:27], 'little') + 1
        height = int.from_bytes(start[27:30], 'little') + 1
        return width, height
    raise ImageError(f'WebP picture begins with an unknown chunk {chunk!r}')


def _webp_is_complete(data: memoryview) -> bool:
    (length,) = struct.unpack_from('<I', data, 4)
    return len(data) >= 8 + int(length)


def _tiff_size(data: memoryview) -> tuple[int, int]:
    order = '<' if data[0] == ord('I') else '>'
    (directory,) = struct.unpack_from(f'{order}I', data, 4)
    (entries,) = struct.unpack_from(f'{order}H', data, directory)
    size: dict[int, int] = {}
    for entry in range(entries):
        at = directory + 2 + 12 * entry
        tag, kind = struct.unpack_from(f'{order}HH', data, at)
        if tag in (256, 257):  # ImageWidth, ImageLength; type 3 is SHORT, 4 is LONG
            (size[tag],) = struct.unpack_from(f'{order}{"H" if kind == 3 else "I"}', data, at + 8)
    if len(size) < 2:
        raise ImageError('TIFF picture does not give its size')
    return size[256], size[257]
