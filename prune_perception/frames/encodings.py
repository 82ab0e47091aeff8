# Copyright 2026 the prune_perception authors
# SPDX-License-Identifier: Apache-2.0

"""
From the bytes of an image message to a BGR array, with numpy and OpenCV only.

The names are those of ROS 2's ``sensor_msgs/image_encodings.hpp``. Every image becomes 8-bit BGR:

- 16-bit samples keep their high byte (a division by 256). Only that byte is read, so the byte
  order of the message costs nothing.
- Bayer mosaics are interpolated bilinearly.
- YUV is BT.601 with the limited range (16 to 235), which is what V4L2 cameras deliver.
- ``8UC3`` and ``8UC4`` name no colours; they are read as BGR and BGRA, OpenCV's own order.

What a message claims is compared with the bytes it carries before anything is allocated.
"""

from __future__ import annotations

from dataclasses import dataclass
import re
from typing import Any

import cv2
import numpy as np

from prune_perception.frames.errors import ImageError
from prune_perception.frames.pictures import check_complete, PictureHeader, read_header

__all__ = [
    'ENCODINGS', 'MAX_PIXELS', 'ImageError', 'Picture', 'decode_compressed', 'decode_image',
    'decode_picture']

MAX_PIXELS = 50_000_000
"""Images with more pixels than this are refused unless the caller allows more."""

Array = np.ndarray[Any, Any]

# BT.601, limited range, to 8-bit BGR: rows B, G, R; columns Y, U, V, constant.
# ITU-R BT.601-7: Y' spans 219 steps from 16, the colour differences 224 steps around 128.
_LUMA, _RED_V, _GREEN_V, _GREEN_U, _BLUE_U = 1.164383, 1.596027, -0.812968, -0.391762, 2.017232
_YUV_TO_BGR = np.array(
    [
        [_LUMA, _BLUE_U, 0.0, -16 * _LUMA - 128 * _BLUE_U],
        [_LUMA, _GREEN_U, _GREEN_V, -16 * _LUMA - 128 * (_GREEN_U + _GREEN_V)],
        [_LUMA, 0.0, _RED_V, -16 * _LUMA - 128 * _RED_V],
    ]
)

# The interpolation needs a neighbour on either side; OpenCV answers black for less than this.
_BAYER_SMALLEST = 3


@dataclass(frozen=True, slots=True)
class _Layout:
    """How the bytes of one encoding lie, and the conversion of the unpacked array to BGR."""

    channels: int
    """Samples per pixel in a row."""
    to_bgr: int | None
    """OpenCV's conversion code, or None when the samples are BGR already."""
    bytes_per_sample: int = 1
    even_width: bool = False
    even_height: bool = False
    chroma_halves: int = 0
    """Size of the interleaved chroma plane after the rows, in halves of the luma plane."""
    smallest: int = 1
    """Least width and height, pixels."""


def _bayer(code: int, bytes_per_sample: int) -> _Layout:
    return _Layout(1, code, bytes_per_sample, smallest=_BAYER_SMALLEST)


_UYVY = _Layout(2, cv2.COLOR_YUV2BGR_UYVY, even_width=True)
_YUYV = _Layout(2, cv2.COLOR_YUV2BGR_YUY2, even_width=True)

_LAYOUTS: dict[str, _Layout] = {
    'mono8': _Layout(1, cv2.COLOR_GRAY2BGR),
    'mono16': _Layout(1, cv2.COLOR_GRAY2BGR, 2),
    '8UC1': _Layout(1, cv2.COLOR_GRAY2BGR),
    '8UC3': _Layout(3, None),
    '8UC4': _Layout(4, cv2.COLOR_BGRA2BGR),
    '16UC1': _Layout(1, cv2.COLOR_GRAY2BGR, 2),
    'rgb8': _Layout(3, cv2.COLOR_RGB2BGR),
    'bgr8': _Layout(3, None),
    'rgba8': _Layout(4, cv2.COLOR_RGBA2BGR),
    'bgra8': _Layout(4, cv2.COLOR_BGRA2BGR),
    'rgb16': _Layout(3, cv2.COLOR_RGB2BGR, 2),
    'bgr16': _Layout(3, None, 2),
    'rgba16': _Layout(4, cv2.COLOR_RGBA2BGR, 2),
    'bgra16': _Layout(4, cv2.COLOR_BGRA2BGR, 2),
    'yuv422': _UYVY,
    'uyvy': _UYVY,
    'yuv422_yuy2': _YUYV,
    'yuyv': _YUYV,
    'nv12': _Layout(
        1, cv2.COLOR_YUV2BGR_NV12, even_width=True, even_height=True, chroma_halves=1
    ),
    'nv21': _Layout(
        1, cv2.COLOR_YUV2BGR_NV21, even_width=True, even_height=True, chroma_halves=1
    ),
    'nv24': _Layout(1, None, chroma_halves=4),
}

# ROS names a mosaic by its first row and second row, read from the top left pixel. OpenCV's
# two-letter codes name the second row from its second pixel, so RGGB is OpenCV's BG.
for _pattern, _code in {
    'rggb': cv2.COLOR_BayerBG2BGR,
    'bggr': cv2.COLOR_BayerRG2BGR,
    'gbrg': cv2.COLOR_BayerGR2BGR,
    'grbg': cv2.COLOR_BayerGB2BGR,
}.items():
    _LAYOUTS[f'bayer_{_pattern}8'] = _bayer(_code, 1)
    _LAYOUTS[f'bayer_{_pattern}16'] = _bayer(_code, 2)

ENCODINGS = tuple(_LAYOUTS)
"""Names of the raw encodings that ``decode_image`` knows."""


def decode_image(
    *,
    encoding: str,
    height: int,
    width: int,
    step: int,
    is_bigendian: bool,
    data: Any,
    max_pixels: int = MAX_PIXELS,
) -> Array:
    """
    Decode the fields of a ``sensor_msgs/Image`` to BGR.

    For the semi-planar encodings (nv12, nv21, nv24) ``height`` counts rows of the picture and
    ``step`` is the length of a luma row; nv24's chroma rows are twice as long.

    :param encoding: one of ``ENCODINGS``.
    :param height: rows, pixels.
    :param width: columns, pixels.
    :param step: length of a row in bytes, padding included.
    :param is_bigendian: byte order of 16-bit samples.
    :param data: any contiguous buffer (bytes, ``array.array``, numpy array).
    :param max_pixels: more pixels than this are refused.
    :returns: array of shape (height, width, 3), uint8, BGR, C-contiguous. For ``bgr8`` without
        padding it is a read-only view of ``data``; copy it to draw on it.
    :raises ImageError: one line that says what is wrong with the message.
    """
    layout = _LAYOUTS.get(encoding)
    if layout is None:
        raise ImageError(f'unknown encoding {encoding!r}; known are {", ".join(ENCODINGS)}')
    available = memoryview(data).nbytes
    _check_shape(encoding, layout, height, width, max_pixels)
    _check_bytes(encoding, layout, height, width, step, available)

    flat = np.frombuffer(data, np.uint8)
    try:
        if layout.chroma_halves:
            return _decode_semi_planar(layout, flat, height, width, step)
        return _decode_packed(layout, flat, height, width, step, bool(is_bigendian))
    except cv2.error as error:
        raise ImageError(
            f'{encoding} image of {width} x {height} pixels does not convert: {error.err}'
        ) from error


# OpenCV's flags for a JPEG in colour at a part of its size, by the divisor. The part is taken of
# the cosine transform, so that it costs less than the whole, and is a mean over pixels.
_REDUCED = {
    8: cv2.IMREAD_REDUCED_COLOR_8, 4: cv2.IMREAD_REDUCED_COLOR_4, 2: cv2.IMREAD_REDUCED_COLOR_2}


@dataclass(frozen=True, slots=True, eq=False)
class Picture:
    """
    A decoded image, perhaps at a part of its size.

    :param image: (height, width, 3) BGR, uint8.
    :param reduction: pixels of the whole, along a side, that make one of ``image``: 1, 2, 4 or 8.
    :param width: of the whole, pixels; ``image`` has a reduction-th of it, rounded up.
    :param height: of the whole, pixels.
    """

    image: Array
    reduction: int
    width: int
    height: int

    @staticmethod
    def whole(image: Array) -> Picture:
        """Return an image at its own size."""
        return Picture(image, 1, image.shape[1], image.shape[0])


def decode_compressed(*, format: str, data: Any, max_pixels: int = MAX_PIXELS) -> Array:
    """
    Decode the fields of a ``sensor_msgs/CompressedImage`` (JPEG, PNG, WebP, BMP, TIFF) to BGR.

    What the bytes are is read from the bytes. ``format`` is free text in practice (``jpeg``,
    ``rgb8; jpeg compressed bgr8``, ``bgr8; png compressed``) and is used only to refuse what is
    not a picture, and to recognise a Bayer mosaic that was compressed as it came from the sensor.

    The EXIF orientation is ignored: boxes are in pixels of the image as the camera sends it, and
    a rotation would detach them from the camera's calibration and from the raw topic.

    :param format: the message's format string.
    :param data: any contiguous buffer with the compressed bytes.
    :param max_pixels: more pixels than this are refused, before anything is decoded.
    :returns: array of shape (height, width, 3), uint8, BGR, C-contiguous.
    :raises ImageError: one line: not a picture, too large, cut off, or damaged. A JPEG whose
        bytes are damaged between intact markers is decoded all the same, with a blemish:
        OpenCV does not report it.
    """
    return decode_picture(format=format, data=data, max_pixels=max_pixels).image


def decode_picture(
    *, format: str, data: Any, max_pixels: int = MAX_PIXELS, least: tuple[int, int] | None = None
) -> Picture:
    """
    Decode like :func:`decode_compressed`, but a large JPEG only as far as somebody needs it.

    :param least: width and height in pixels that are enough. A JPEG is decoded at a half, a
        quarter or an eighth of its size where that is at least as large, in a part of the time;
        other kinds, and mosaics, are decoded whole.
    :raises ImageError: as there.
    """
    if 'compressedDepth' in format:
        raise ImageError(
            f'format {format!r} is a depth map, not a picture; choose the colour image topic'
        )
    buffer = memoryview(data).cast('B') if memoryview(data).nbytes else memoryview(b'')
    header = read_header(buffer, format)
    if header.width < 1 or header.height < 1:
        raise ImageError(
            f'{header.kind} picture has no pixels (width {header.width}, height {header.height})'
        )
    _check_pixels(f'{header.kind} picture', header.height, header.width, max_pixels)
    # OpenCV returns what it could decode of a cut JPEG, and paints the rest grey, without a word.
    check_complete(buffer, header)

    mosaic = _compressed_mosaic(format)
    reduction = 1 if mosaic or least is None else _reduction(header, least)
    flag = (cv2.IMREAD_GRAYSCALE if mosaic
            else _REDUCED[reduction] if reduction > 1 else cv2.IMREAD_COLOR)
    try:
        image = cv2.imdecode(
            np.frombuffer(buffer, np.uint8), flag | cv2.IMREAD_IGNORE_ORIENTATION
        )
    except cv2.error as error:
        raise ImageError(f'{header.kind} picture is damaged: {error.err}') from error
    if image is None:
        raise ImageError(f'{header.kind} picture of {len(buffer)} bytes is damaged')
    if image.shape[:2] != (-(-header.height // reduction), -(-header.width // reduction)):
        raise ImageError(
            f'{header.kind} picture decodes to {image.shape[1]} x {image.shape[0]} pixels at '
            f'1/{reduction} of its size, but its header says {header.width} x {header.height}'
        )
    if mosaic:
        return Picture.whole(decode_image(
            encoding=mosaic,
            height=header.height,
            width=header.width,
            step=header.width,
            is_bigendian=False,
            data=image,
            max_pixels=max_pixels,
        ))
    return Picture(image, reduction, header.width, header.height)


def _reduction(header: PictureHeader, least: tuple[int, int]) -> int:
    if header.kind != 'JPEG':
        return 1
    width, height = least
    return next((divisor for divisor in _REDUCED
                 if header.width >= divisor * width and header.height >= divisor * height), 1)


def _compressed_mosaic(format: str) -> str | None:
    """
    Name the 8-bit Bayer encoding of a mosaic that was compressed undecoded.

    The image transport writes ``bayer_rggb8; jpeg compressed`` for it, and names a colour
    encoding after the last word when it has interpolated before compressing.
    """
    match = re.match(r'\s*(bayer_(?:rggb|bggr|gbrg|grbg))(?:8|16)\b', format)
    if match is None or re.search(r'compressed\s+(?:bgr|rgb|mono)', format):
        return None
    return f'{match[1]}8'


def _check_pixels(what: str, height: int, width: int, max_pixels: int) -> None:
    if width * height > max_pixels:
        raise ImageError(
            f'{what} of {width} x {height} pixels is larger than the limit of '
            f'{max_pixels / 1e6:g} megapixels'
        )


def _check_shape(
    encoding: str, layout: _Layout, height: int, width: int, max_pixels: int
) -> None:
    if width < 1 or height < 1:
        raise ImageError(f'{encoding} image has no pixels (width {width}, height {height})')
    _check_pixels(f'{encoding} image', height, width, max_pixels)
    if min(width, height) < layout.smallest:
        raise ImageError(
            f'{encoding} image of {width} x {height} pixels is too small to interpolate; '
            f'at least {layout.smallest} x {layout.smallest} are needed'
        )
    for name, value, even in (
        ('width', width, layout.even_width),
        ('height', height, layout.even_height),
    ):
        if even and value % 2:
            raise ImageError(
                f'{encoding} image has {name} {value}; its colour is shared by pairs of pixels, '
                f'so the {name} must be even'
            )


def _check_bytes(
    encoding: str, layout: _Layout, height: int, width: int, step: int, available: int
) -> None:
    row = width * layout.channels * layout.bytes_per_sample
    if step < row:
        raise ImageError(
            f'{encoding} image has step {step}, but a row of {width} pixels is {row} bytes'
        )
    rows = height + height * layout.chroma_halves // 2
    if available != step * rows:
        chroma = f' (height {height}, and chroma)' if layout.chroma_halves else ''
        raise ImageError(
            f'{encoding} image carries {available} bytes, but {rows} rows{chroma} with step '
            f'{step} make {step * rows}'
        )


def _decode_packed(
    layout: _Layout, flat: Array, height: int, width: int, step: int, is_bigendian: bool
) -> Array:
    """Convert encodings whose rows hold whole pixels."""
    samples = width * layout.channels
    rows = flat.reshape(height, step)[:, : samples * layout.bytes_per_sample]
    if layout.bytes_per_sample == 2:
        # cv2.extractChannel is several times as fast here as a strided copy by numpy.
        pairs = rows.reshape(height, samples, 2)
        rows = cv2.extractChannel(pairs, 0 if is_bigendian else 1)
    if layout.channels > 1:
        rows = rows.reshape(height, width, layout.channels)
    if layout.to_bgr is not None:
        return cv2.cvtColor(rows, layout.to_bgr)
    image = np.ascontiguousarray(rows)
    if np.may_share_memory(image, flat):
        # The bytes belong to the message: whoever draws must copy, and finds out at once.
        image.flags.writeable = False
    return image


def _decode_semi_planar(
    layout: _Layout, flat: Array, height: int, width: int, step: int
) -> Array:
    """Convert a luma plane followed by a plane of interleaved chroma."""
    if layout.to_bgr is not None:
        rows = flat.reshape(height * 3 // 2, step)[:, :width]
        return cv2.cvtColor(rows, layout.to_bgr)
    luma = flat[: height * step].reshape(height, step)[:, :width]
    chroma = flat[height * step :].reshape(height, 2 * step)[:, : 2 * width]
    pixels = cv2.merge([luma, *cv2.split(chroma.reshape(height, width, 2))])
    return cv2.transform(pixels, _YUV_TO_BGR)
