# Copyright 2026 the prune_perception authors
# SPDX-License-Identifier: Apache-2.0

"""Pixel encodings: a known scene, encoded by hand, must come back; bad messages must not."""

from __future__ import annotations

import array
import struct
import tracemalloc
import zlib

import cv2
import numpy as np
import pytest

from prune_perception.frames.encodings import (
    decode_compressed,
    decode_image,
    decode_picture,
    ENCODINGS,
    ImageError,
)

HEIGHT, WIDTH = 48, 64


def scene(height: int = HEIGHT, width: int = WIDTH) -> np.ndarray:
    """
    Return a smooth scene in BGR: each channel a ramp of its own.

    The ramps are linear, so that bilinear demosaicing and shared chroma lose next to nothing,
    while a swapped channel or a shifted mosaic is far off.
    """
    down = np.linspace(0, 1, height)[:, None]
    across = np.linspace(0, 1, width)[None, :]
    blue = 30 + 60 * down + 0 * across
    green = 100 + 70 * across + 0 * down
    red = 180 + 30 * down + 40 * across
    return np.stack([blue, green, red], axis=-1).round().astype(np.uint8)


def luma_and_chroma(bgr: np.ndarray) -> np.ndarray:
    """Convert to Y, U, V by BT.601, limited range, shape (height, width, 3), uint8."""
    blue, green, red = (bgr[..., i] / 255 for i in range(3))
    y = 0.299 * red + 0.587 * green + 0.114 * blue
    u = (blue - y) / 1.772
    v = (red - y) / 1.402
    return np.stack([16 + 219 * y, 128 + 224 * u, 128 + 224 * v], -1).round().astype(np.uint8)


def mosaic(bgr: np.ndarray, pattern: str) -> np.ndarray:
    """Sample a Bayer mosaic; the pattern's letters are rows of the top left four pixels."""
    channel = {'b': 0, 'g': 1, 'r': 2}
    out = np.empty(bgr.shape[:2], np.uint8)
    for i, letter in enumerate(pattern):
        row, column = divmod(i, 2)
        out[row::2, column::2] = bgr[row::2, column::2, channel[letter]]
    return out


def samples(encoding: str, bgr: np.ndarray) -> list[np.ndarray]:
    """Return the planes of an encoding as 8-bit samples, each of shape (rows, samples)."""
    height, width = bgr.shape[:2]
    alpha = np.full((height, width, 1), 7, np.uint8)
    name = encoding.removesuffix('16').removesuffix('8')
    if name.startswith('bayer_'):
        return [mosaic(bgr, name.removeprefix('bayer_'))]
    if name in ('mono', '8UC1', '16UC1'):
        return [bgr[..., 1]]
    if encoding in ('8UC3', '8UC4') or name in ('rgb', 'bgr', 'rgba', 'bgra'):
        colour = bgr[..., ::-1] if name.startswith('rgb') else bgr
        if encoding == '8UC4' or name.endswith('a'):
            colour = np.concatenate([colour, alpha], axis=-1)
        return [colour.reshape(height, -1)]
    yuv = luma_and_chroma(bgr)
    if encoding in ('yuv422', 'uyvy', 'yuv422_yuy2', 'yuyv'):
        chroma = np.stack([yuv[:, 0::2, 1], yuv[:, 0::2, 2]], -1).reshape(height, width)
        pair = (chroma, yuv[..., 0]) if encoding in ('yuv422', 'uyvy') else (yuv[..., 0], chroma)
        return [np.stack(pair, -1).reshape(height, -1)]
    step = 1 if encoding == 'nv24' else 2
    order = (2, 1) if encoding == 'nv21' else (1, 2)
    chroma = np.stack([yuv[::step, ::step, i] for i in order], -1)
    return [yuv[..., 0], chroma.reshape(chroma.shape[0], -1)]


def message(encoding: str, bgr: np.ndarray, *, padding: int = 0, is_bigendian: bool = False):
    """Return the arguments of ``decode_image`` for a scene."""
    planes = samples(encoding, bgr)
    rows = b''
    for plane in planes:
        per_row = padding * (2 if encoding == 'nv24' and plane is planes[1] else 1)
        if '16' in encoding:
            # The low byte must not matter: the high byte is what is left of 16 bits.
            plane = plane.astype('>u2' if is_bigendian else '<u2') * 256 + 0xAB
            plane = plane.astype('>u2' if is_bigendian else '<u2').view(np.uint8)
        padded = np.pad(plane, ((0, 0), (0, per_row)), constant_values=0xEE)
        rows += padded.tobytes()
        if plane.shape[0] == bgr.shape[0] and len(rows) == padded.nbytes:
            step = padded.shape[1]
    return {
        'encoding': encoding,
        'height': bgr.shape[0],
        'width': bgr.shape[1],
        'step': step,
        'is_bigendian': is_bigendian,
        'data': rows,
    }


def expected(encoding: str, bgr: np.ndarray) -> np.ndarray:
    """Return what must come back, apart from rounding."""
    if encoding in ('mono8', 'mono16', '8UC1', '16UC1'):
        return np.repeat(bgr[..., 1:2], 3, axis=-1)
    return bgr


def tolerance(encoding: str) -> int:
    """Return the largest difference from rounding, shared chroma and interpolation."""
    if encoding.startswith('bayer_'):
        return 3
    return 4 if encoding.startswith(('yuv', 'uyvy', 'yuyv', 'nv')) else 0


@pytest.mark.parametrize('is_bigendian', [False, True])
@pytest.mark.parametrize('padding', [0, 10])
@pytest.mark.parametrize('encoding', ENCODINGS)
def test_scene_comes_back(encoding: str, padding: int, is_bigendian: bool) -> None:
    bgr = scene()
    image = decode_image(**message(encoding, bgr, padding=padding, is_bigendian=is_bigendian))

    assert image.shape == (HEIGHT, WIDTH, 3)
    assert image.dtype == np.uint8
    assert image.flags.c_contiguous
    difference = np.abs(image.astype(int) - expected(encoding, bgr))
    # Interpolation has one neighbour only at the border.
    inside = difference[2:-2, 2:-2] if encoding.startswith('bayer_') else difference
    assert inside.max() <= tolerance(encoding)


def test_encodings_of_the_ros_header_are_known() -> None:
    bayer = {
        f'bayer_{p}{bits}' for p in ('rggb', 'bggr', 'gbrg', 'grbg') for bits in (8, 16)
    }
    common = {'mono8', 'mono16', 'rgb8', 'bgr8', 'rgba8', 'bgra8', 'rgb16', 'bgr16', 'rgba16'}
    yuv = {'bgra16', 'yuv422', 'uyvy', 'yuv422_yuy2', 'yuyv', 'nv12', 'nv21', 'nv24'}
    assert bayer | common | yuv | {'8UC1', '8UC3', '16UC1'} <= set(ENCODINGS)


def test_bgr8_is_a_read_only_view() -> None:
    data = bytearray(scene().tobytes())
    image = decode_image(
        encoding='bgr8',
        height=HEIGHT,
        width=WIDTH,
        step=WIDTH * 3,
        is_bigendian=False,
        data=data,
    )
    data[0] = 99
    assert image[0, 0, 0] == 99
    with pytest.raises(ValueError, match='read-only'):
        image[0, 0, 0] = 1


@pytest.mark.parametrize(
    'wrap',
    [
        bytes,
        bytearray,
        memoryview,
        lambda data: array.array('B', data),  # what rclpy delivers
        lambda data: np.frombuffer(data, np.uint8),
    ],
)
def test_any_buffer_is_taken(wrap) -> None:
    arguments = message('rgb8', scene())
    arguments['data'] = wrap(arguments['data'])
    assert np.array_equal(decode_image(**arguments), scene())


def test_odd_sizes_where_no_pixels_share_colour() -> None:
    bgr = scene(31, 33)
    for encoding in ('mono8', 'rgb8', 'bayer_grbg8', 'nv24', 'bgra16'):
        image = decode_image(**message(encoding, bgr))
        assert image.shape == (31, 33, 3)


@pytest.mark.parametrize(
    ('encoding', 'changes', 'text'),
    [
        ('32FC1', {}, r"unknown encoding '32FC1'; known are mono8, .*nv24"),
        ('', {}, r"unknown encoding ''"),
        ('rgb8', {'height': 0}, r'no pixels \(width 64, height 0\)'),
        ('rgb8', {'width': 0, 'data': b''}, r'no pixels \(width 0, height 48\)'),
        ('rgb8', {'height': 47}, r'carries 9216 bytes, but 47 rows with step 192 make 9024'),
        ('rgb8', {'height': 4_000}, r'4000 rows with step 192 make 768000'),
        ('rgb8', {'step': 191}, r'step 191, but a row of 64 pixels is 192 bytes'),
        ('rgb8', {'step': 0}, r'step 0, but a row'),
        ('rgb8', {'step': 193}, r'48 rows with step 193 make 9264'),
        ('rgb8', {'data': b''}, r'carries 0 bytes'),
        ('mono16', {'step': 64}, r'step 64, but a row of 64 pixels is 128 bytes'),
        ('yuv422', {'width': 63}, r'width 63; .* must be even'),
        ('nv12', {'width': 63}, r'width 63; .* must be even'),
        ('nv21', {'height': 47}, r'height 47; .* must be even'),
        ('nv12', {'height': 46}, r'carries 4608 bytes, but 69 rows \(height 46, and chroma\)'),
        ('bayer_rggb8', {'height': 2, 'width': 2}, r'too small to interpolate; at least 3 x 3'),
    ],
)
def test_bad_messages_are_refused_by_name(encoding: str, changes: dict, text: str) -> None:
    arguments = message('rgb8' if encoding in ('', '32FC1') else encoding, scene())
    arguments |= {'encoding': encoding, **changes}
    with pytest.raises(ImageError, match=text) as caught:
        decode_image(**arguments)
    assert '\n' not in str(caught.value)
    assert isinstance(caught.value, ValueError)


def test_hundred_megapixels_are_refused_before_anything_is_allocated() -> None:
    tracemalloc.start()
    try:
        with pytest.raises(ImageError, match=r'10000 x 10000 .* limit of 50 megapixels'):
            decode_image(
                encoding='mono8',
                height=10_000,
                width=10_000,
                step=10_000,
                is_bigendian=False,
                data=b'',
            )
        assert tracemalloc.get_traced_memory()[1] < 1_000_000
    finally:
        tracemalloc.stop()


def test_limit_is_an_argument() -> None:
    arguments = message('mono8', scene())
    assert decode_image(**arguments, max_pixels=HEIGHT * WIDTH).shape == (HEIGHT, WIDTH, 3)
    with pytest.raises(ImageError, match='larger than the limit'):
        decode_image(**arguments, max_pixels=HEIGHT * WIDTH - 1)


# Compressed pictures

LOSSLESS = ('.png', '.bmp', '.tiff')
KINDS = ('.jpg', '.webp', *LOSSLESS)


def compress(image: np.ndarray, suffix: str, *parameters: int) -> bytes:
    """Compress a picture with OpenCV."""
    good, data = cv2.imencode(suffix, image, list(parameters))
    assert good
    return data.tobytes()


@pytest.mark.parametrize('suffix', KINDS)
def test_pictures_decode(suffix: str) -> None:
    image = decode_compressed(format='anything', data=compress(scene(), suffix))
    difference = np.abs(image.astype(int) - scene()).max()
    assert difference <= (0 if suffix in LOSSLESS else 12)
    assert image.flags.c_contiguous


@pytest.mark.parametrize('suffix', ['.jpg', '.png'])
@pytest.mark.parametrize(
    'format',
    ['jpeg', 'png', '', 'rgb8; jpeg compressed bgr8', 'bgr8; png compressed', 'mono8; png'],
)
def test_format_strings_do_not_change_colours(format: str, suffix: str) -> None:
    image = decode_compressed(format=format, data=compress(scene(), suffix))
    assert np.abs(image.astype(int) - scene()).max() <= 12


def test_array_of_bytes_is_taken() -> None:
    data = array.array('B', compress(scene(), '.png'))
    assert np.array_equal(decode_compressed(format='png', data=data), scene())


@pytest.mark.parametrize('suffix', ['.jpg', '.png'])
def test_grey_pictures_become_bgr(suffix: str) -> None:
    grey = scene()[..., 1]
    image = decode_compressed(format='mono8; jpeg compressed', data=compress(grey, suffix))
    assert image.shape == (HEIGHT, WIDTH, 3)
    assert np.array_equal(image[..., 0], image[..., 2])
    assert np.abs(image[..., 0].astype(int) - grey).max() <= 4


def test_16_bit_png_keeps_the_high_byte() -> None:
    deep = scene().astype(np.uint16) * 256 + 0xAB
    assert np.array_equal(decode_compressed(format='png', data=compress(deep, '.png')), scene())


@pytest.mark.parametrize('pattern', ['rggb', 'bggr', 'gbrg', 'grbg'])
def test_mosaic_that_was_compressed_is_interpolated(pattern: str) -> None:
    data = compress(mosaic(scene(), pattern), '.png')
    image = decode_compressed(format=f'bayer_{pattern}8; png compressed ', data=data)
    assert np.abs(image.astype(int) - scene())[2:-2, 2:-2].max() <= 3
    # Interpolated before it was compressed: colours already.
    image = decode_compressed(
        format=f'bayer_{pattern}8; png compressed bgr8', data=compress(scene(), '.png')
    )
    assert np.array_equal(image, scene())


@pytest.mark.parametrize(('least', 'reduction'), [
    (None, 1), ((64, 48), 1), ((33, 1), 1), ((1, 25), 1), ((32, 24), 2), ((31, 23), 2),
    ((16, 12), 4), ((17, 12), 2), ((8, 6), 8), ((1, 1), 8)])
def test_a_large_jpeg_is_decoded_as_far_as_is_needed(
        least: tuple[int, int] | None, reduction: int) -> None:
    data = compress(scene(), '.jpg', cv2.IMWRITE_JPEG_QUALITY, 95)
    picture = decode_picture(format='jpeg', data=data, least=least)
    assert (picture.reduction, picture.width, picture.height) == (reduction, WIDTH, HEIGHT)
    rows, columns = HEIGHT // reduction, WIDTH // reduction
    means = scene().reshape(rows, reduction, columns, reduction, 3).mean(axis=(1, 3))
    assert picture.image.shape == (rows, columns, 3)
    assert np.abs(picture.image - means).max() <= 12


def test_what_does_not_divide_is_rounded_up() -> None:
    data = compress(scene(51, 67), '.jpg')
    picture = decode_picture(format='jpeg', data=data, least=(10, 10))
    assert picture.image.shape == (13, 17, 3)
    assert (picture.reduction, picture.width, picture.height) == (4, 67, 51)


@pytest.mark.parametrize('suffix', [suffix for suffix in KINDS if suffix != '.jpg'])
def test_other_pictures_are_decoded_whole(suffix: str) -> None:
    picture = decode_picture(format='', data=compress(scene(), suffix), least=(1, 1))
    assert (picture.reduction, picture.image.shape) == (1, (HEIGHT, WIDTH, 3))


def test_a_compressed_mosaic_is_decoded_whole() -> None:
    data = compress(mosaic(scene(), 'rggb'), '.jpg', cv2.IMWRITE_JPEG_QUALITY, 100)
    picture = decode_picture(
        format='bayer_rggb8; jpeg compressed', data=data, least=(1, 1))
    assert (picture.reduction, picture.image.shape) == (1, (HEIGHT, WIDTH, 3))


def test_a_grey_jpeg_at_a_part_of_its_size_has_three_channels() -> None:
    data = compress(scene()[..., 1], '.jpg')
    assert decode_picture(format='', data=data, least=(32, 24)).image.shape == (24, 32, 3)


def test_a_jpeg_that_is_cut_off_is_refused_at_a_part_of_its_size_too() -> None:
    data = compress(scene(), '.jpg')
    with pytest.raises(ImageError):
        decode_picture(format='jpeg', data=data[:-40], least=(8, 8))


def with_exif(jpeg: bytes, orientation: int, extra: bytes = b'') -> bytes:
    """Insert an EXIF segment with an orientation right after the start of a JPEG."""
    tiff = b'MM\0*' + struct.pack('>IH', 8, 1)
    tiff += struct.pack('>HHIHH', 0x0112, 3, 1, orientation, 0) + struct.pack('>I', 0)
    payload = b'Exif\0\0' + tiff + extra
    return jpeg[:2] + b'\xff\xe1' + struct.pack('>H', len(payload) + 2) + payload + jpeg[2:]


def test_exif_orientation_is_ignored() -> None:
    turned = with_exif(compress(scene(), '.jpg'), 6)
    # OpenCV would turn it: the tag is there and is understood.
    assert cv2.imdecode(np.frombuffer(turned, np.uint8), cv2.IMREAD_COLOR).shape[0] == WIDTH
    assert decode_compressed(format='jpeg', data=turned).shape == (HEIGHT, WIDTH, 3)


@pytest.mark.parametrize('suffix', KINDS)
@pytest.mark.parametrize('share', [0.05, 0.5, 0.9])
def test_cut_pictures_are_refused(suffix: str, share: float) -> None:
    noise = np.random.default_rng(0).integers(0, 256, (120, 160, 3), np.uint8)
    data = compress(noise, suffix)
    with pytest.raises(ImageError, match='cut off|damaged|ends within'):
        decode_compressed(format='jpeg', data=data[: int(len(data) * share)])


@pytest.mark.parametrize('length', range(12))
def test_stumps_are_refused(length: int) -> None:
    for suffix in KINDS:
        with pytest.raises(ImageError):
            decode_compressed(format='jpeg', data=compress(scene(), suffix)[:length])


@pytest.mark.parametrize('parameters', [(), (cv2.IMWRITE_JPEG_PROGRESSIVE, 1)])
def test_jpeg_without_its_last_byte_is_refused(parameters: tuple[int, ...]) -> None:
    data = compress(scene(), '.jpg', *parameters)
    assert decode_compressed(format='jpeg', data=data).shape == (HEIGHT, WIDTH, 3)
    with pytest.raises(ImageError, match='JPEG picture of 64 x 48 pixels is cut off after'):
        decode_compressed(format='jpeg', data=data[:-1])


def test_end_marker_of_a_thumbnail_does_not_count() -> None:
    thumbnail = compress(scene(8, 8), '.jpg')
    data = with_exif(compress(scene(), '.jpg'), 1, thumbnail)
    decode_compressed(format='jpeg', data=data)
    with pytest.raises(ImageError, match='cut off'):
        decode_compressed(format='jpeg', data=data[:-40])


def test_bytes_after_the_end_marker_are_no_damage() -> None:
    data = compress(scene(), '.jpg') + bytes(100)
    assert decode_compressed(format='jpeg', data=data).shape == (HEIGHT, WIDTH, 3)


def test_jpeg_with_restart_markers_is_complete() -> None:
    data = compress(scene(), '.jpg', cv2.IMWRITE_JPEG_RST_INTERVAL, 2)
    assert b'\xff\xd0' in data
    assert decode_compressed(format='jpeg', data=data).shape == (HEIGHT, WIDTH, 3)


@pytest.mark.parametrize(
    ('format', 'data', 'text'),
    [
        ('jpeg', b'', 'carries no data'),
        ('h264', b'\0\0\0\1gB', r"format 'h264'\) is not a JPEG, .* first bytes are 00 00 00 01"),
        ('16UC1; compressedDepth png', b'x', 'is a depth map, not a picture'),
        ('jpeg', b'\xff\xd8\xff\xd9' + bytes(20), 'JPEG picture has no frame header'),
    ],
)
def test_what_is_no_picture_is_refused(format: str, data: bytes, text: str) -> None:
    with pytest.raises(ImageError, match=text):
        decode_compressed(format=format, data=data)


def claim(kind: str, width: int, height: int) -> bytes:
    """Return a picture whose header claims a size."""
    if kind == 'JPEG':
        data = bytearray(compress(scene(), '.jpg'))
        frame = data.index(b'\xff\xc0')
        data[frame + 5 : frame + 9] = struct.pack('>HH', height, width)
        return bytes(data)
    if kind == 'PNG':
        data = bytearray(compress(scene(), '.png'))
        data[16:24] = struct.pack('>II', width, height)
        data[29:33] = struct.pack('>I', zlib.crc32(data[12:29]))
        return bytes(data)
    if kind == 'BMP':
        data = bytearray(compress(scene(), '.bmp'))
        data[18:26] = struct.pack('<ii', width, -height)
        return bytes(data)
    if kind == 'TIFF':
        entries = [(256, 4, 1, width), (257, 4, 1, height)]
        packed = b''.join(struct.pack('<HHII', *entry) for entry in entries)
        return b'II*\0' + struct.pack('<IH', 8, 2) + packed + bytes(4)
    size = (width - 1).to_bytes(3, 'little') + (height - 1).to_bytes(3, 'little')
    return b'RIFF' + struct.pack('<I', 22) + b'WEBPVP8X' + struct.pack('<II', 10, 0) + size


@pytest.mark.parametrize('kind', ['JPEG', 'PNG', 'BMP', 'TIFF', 'WebP'])
def test_hundred_megapixels_are_refused_before_decoding(
    kind: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    data = claim(kind, 10_000, 10_000)
    monkeypatch.setattr(cv2, 'imdecode', lambda *_: pytest.fail('was decoded'))
    with pytest.raises(ImageError, match=rf'{kind} picture of 10000 x 10000 .* 50 megapixels'):
        decode_compressed(format='jpeg', data=data)


@pytest.mark.parametrize('kind', ['JPEG', 'PNG'])
def test_picture_of_zero_size_is_refused(kind: str) -> None:
    with pytest.raises(ImageError, match=r'no pixels \(width 0, height 48\)'):
        decode_compressed(format='jpeg', data=claim(kind, 0, 48))


@pytest.mark.parametrize('suffix', ['.webp', '.tiff', '.bmp', '.png', '.jpg'])
def test_sizes_are_read_from_real_headers(suffix: str) -> None:
    data = compress(scene(50, 70), suffix)
    with pytest.raises(ImageError, match='of 70 x 50 pixels is larger'):
        decode_compressed(format='', data=data, max_pixels=3499)
    assert decode_compressed(format='', data=data, max_pixels=3500).shape == (50, 70, 3)


def test_lossy_webp_size() -> None:
    data = compress(scene(50, 70), '.webp', cv2.IMWRITE_WEBP_QUALITY, 80)
    assert data[12:16] == b'VP8 '
    with pytest.raises(ImageError, match='WebP picture of 70 x 50 pixels is larger'):
        decode_compressed(format='', data=data, max_pixels=3499)
