# Copyright 2026 the prune_perception authors
# SPDX-License-Identifier: Apache-2.0

from dataclasses import replace
import hashlib

import cv2
import numpy as np
import pytest
from test_recording import COMPRESSED, contents, image_message, ROS2, write_bag

torch = pytest.importorskip('torch')

from prune_perception.bundle import InputSpec  # noqa: E402
from prune_perception.evaluation.replay import digest_of  # noqa: E402
from prune_perception.frames.folders import FolderRecording  # noqa: E402
from prune_perception.frames.recording import RecordingError  # noqa: E402
from prune_perception.networks.export import Deployed  # noqa: E402
from prune_perception.pruning import footage  # noqa: E402
from prune_perception.pruning.footage import (  # noqa: E402
    FootageError,
    mirror,
    read_footage,
    resized,
    tensor_of,
)
from prune_perception.pruning.splits import FEWEST  # noqa: E402

FED = InputSpec(16, 24, 'bgr', (10.0, 20.0, 30.0), (2.0, 4.0, 8.0), 'stretch')


def write_folder(folder, number, size=(32, 48)):
    """Write pictures whose blue tells their place, and whose red is 200."""
    folder.mkdir(exist_ok=True)
    for place in range(number):
        image = np.zeros((*size, 3), np.uint8)
        image[..., 0], image[..., 2] = place, 200
        assert cv2.imwrite(str(folder / f'{place}.png'), image)
    return folder


def places_of(images):
    return images[:, 0, 0, 0].tolist()


def test_frames_come_fitted_and_in_order(tmp_path):
    folder = write_folder(tmp_path / 'pictures', 20)
    found = read_footage(folder, FED)
    assert found.images.shape == (20, 16, 24, 3) and found.images.dtype == np.uint8
    assert places_of(found.images) == list(range(20))
    assert (found.images[..., 2] == 200).all()
    assert found.source_size == (48, 32)
    assert (found.path, found.skipped) == (folder, ())
    assert found.digest == digest_of(folder)


def test_the_colour_order_is_the_network_s(tmp_path):
    found = read_footage(write_folder(tmp_path / 'p', 16), replace(FED, colour_order='rgb'))
    assert (found.images[..., 0] == 200).all()


@pytest.mark.parametrize(('number', 'most'), [(100, 25), (50, 20), (41, 40), (40, 40)])
def test_of_a_longer_recording_frames_are_kept_evenly(tmp_path, number, most):
    found = places_of(read_footage(write_folder(tmp_path / 'p', number), FED, most=most).images)
    assert len(found) == most
    steps = np.diff(found)
    assert found[0] == 0 and found[-1] >= number - number / most - 1
    assert set(steps) <= {number // most, -(-number // most)}


@pytest.mark.parametrize('number', [16, 40, 41, 79, 80, 81, 100, 161, 250])
def test_a_recording_of_unknown_length_is_thinned_as_it_is_read(tmp_path, monkeypatch, number):
    opened = footage.open_recording

    def open_without_count(*args):
        recording = opened(*args)
        recording.count = None
        return recording

    monkeypatch.setattr(footage, 'open_recording', open_without_count)
    found = places_of(read_footage(write_folder(tmp_path / 'p', number), FED, most=40).images)
    step = 1
    while -(-number // step) > 40:
        step *= 2
    assert found == list(range(0, number, step))


def test_a_bad_picture_is_skipped_and_told(tmp_path):
    folder = write_folder(tmp_path / 'p', 20)
    (folder / '7.png').write_bytes(b'not a picture')
    found = read_footage(folder, FED)
    assert places_of(found.images) == [place for place in range(20) if place != 7]
    assert len(found.skipped) == 1 and '7.png' in found.skipped[0]


@pytest.mark.parametrize(('number', 'said'), [(1, 'has 1 frame '), (15, 'has 15 frames ')])
def test_too_few_frames_are_told_with_how_many_are_needed(tmp_path, number, said):
    folder = write_folder(tmp_path / 'p', number)
    with pytest.raises(FootageError) as caught:
        read_footage(folder, FED)
    text = str(caught.value)
    assert text.startswith(f'{folder}: {said}') and 'at least 16' in text and '\n' not in text


def test_that_all_pictures_are_bad_is_told(tmp_path):
    folder = tmp_path / 'p'
    folder.mkdir()
    for place in range(3):
        (folder / f'{place}.png').write_bytes(b'not a picture')
    with pytest.raises(FootageError, match='has no frame that can be used .3 more cannot be dec'):
        read_footage(folder, FED)


@pytest.mark.parametrize('name', ['missing', 'empty', 'text.avi'])
def test_what_is_no_recording_is_told(tmp_path, name):
    (tmp_path / 'empty').mkdir()
    (tmp_path / 'text.avi').write_text('not a video')
    with pytest.raises(FootageError) as caught:
        read_footage(tmp_path / name, FED)
    assert str(caught.value).startswith(f'{tmp_path / name}: ') and '\n' not in str(caught.value)


def test_photographs_may_be_of_any_size(tmp_path):
    folder = write_folder(tmp_path / 'p', 16)
    cv2.imwrite(str(folder / '3.png'), np.full((60, 20, 3), 9, np.uint8))
    found = read_footage(folder, FED)
    assert len(found.images) == 16 and (found.images[3] == 9).all()
    assert found.source_size == (48, 32)


def test_frames_of_a_camera_may_not(tmp_path):
    rows = contents(20)
    other = cv2.imencode('.png', np.zeros((48, 64, 3), np.uint8))[1].ravel()
    message = image_message(ROS2, COMPRESSED, 20, data=other)
    rows.append(('/camera/image', COMPRESSED, rows[-1][2] + 1,
                 bytes(ROS2.serialize_cdr(message, COMPRESSED))))
    bag = write_bag(tmp_path / 'bag', rows)
    with pytest.raises(FootageError) as caught:
        read_footage(bag, FED)
    text = str(caught.value)
    assert '/camera/image: image 21: is 64 x 48 pixels, the first frame is 32 x 24' in text
    assert '\n' not in text


def test_a_bag_is_read_by_its_topic(tmp_path):
    bag = write_bag(tmp_path / 'bag', contents(18))
    assert places_of(read_footage(bag, FED, '/camera/image').images) == list(range(18))
    with pytest.raises(FootageError, match="there is no topic '/nothing'"):
        read_footage(bag, FED, '/nothing')


def test_a_recording_that_breaks_off_is_used_as_far_as_it_goes(tmp_path, monkeypatch):
    from prune_perception.frames.folders import FolderRecording
    whole = FolderRecording.__iter__

    def broken(self):
        for frame in whole(self):
            if frame.index == 17:
                raise RecordingError('breaks off here')
            yield frame

    monkeypatch.setattr(FolderRecording, '__iter__', broken)
    found = read_footage(write_folder(tmp_path / 'p', 30), FED)
    assert len(found.images) == 17
    assert found.skipped == ('breaks off here',)


@pytest.mark.parametrize('counted', (True, False))
def test_a_part_of_a_recording(tmp_path, monkeypatch, counted):
    folder = write_folder(tmp_path / 'p', 40)
    if not counted:
        plain = FolderRecording.__init__

        def uncounted(self, *arguments, **named):
            plain(self, *arguments, **named)
            self.count = None

        monkeypatch.setattr(FolderRecording, '__init__', uncounted)
    assert places_of(read_footage(folder, FED, part=(11, 30)).images) == list(range(10, 30))
    assert len(read_footage(folder, FED, part=(11, 100)).images) == 30
    thinned = places_of(read_footage(folder, FED, part=(3, 40), most=20).images)
    assert thinned[0] == 2 and 16 <= len(thinned) <= 20 and thinned == sorted(thinned)
    with pytest.raises(FootageError, match='has 5 frames from 11 to 15 that can be used'):
        read_footage(folder, FED, part=(11, 15))
    with pytest.raises(FootageError, match='has no frame from 41 to 60 that can be used'):
        read_footage(folder, FED, part=(41, 60))


def test_large_inputs_leave_room_for_fewer_frames(tmp_path, monkeypatch):
    folder = write_folder(tmp_path / 'p', 60)
    monkeypatch.setattr(footage, '_MOST_BYTES', 20 * 16 * 24 * 3 + 1)
    found = read_footage(folder, FED)
    assert places_of(found.images) == list(range(0, 60, 3))
    assert found.images.base.nbytes <= footage._MOST_BYTES
    monkeypatch.setattr(footage, '_MOST_BYTES', 1)
    assert len(read_footage(folder, FED).images) == FEWEST


def test_progress_rises(tmp_path):
    told = []
    read_footage(write_folder(tmp_path / 'p', 20), FED,
                 progress=lambda share, text: told.append(share))
    assert len(told) == 20 and told == sorted(told) and 0 <= told[0] < told[-1] <= 1


def test_the_tensor_is_what_the_deployed_network_sees():
    images = np.random.default_rng(0).integers(0, 256, (2, 16, 24, 3), np.uint8)
    with torch.no_grad():
        wanted = Deployed(torch.nn.Identity(), FED)(torch.from_numpy(images))
    found = tensor_of(images, FED)
    assert found.dtype == torch.float32 and found.shape == (2, 3, 16, 24)
    torch.testing.assert_close(found, wanted, rtol=0, atol=0)
    assert found[1, 2, 3, 4] == (images[1, 3, 4, 2] - np.float32(30)) / 8


def test_images_that_cannot_be_written_to_are_taken_without_a_warning(recwarn):
    images = np.zeros((1, 16, 24, 3), np.uint8)
    images.flags.writeable = False
    tensor_of(images, FED)
    assert not recwarn.list


def test_resizing():
    images = np.repeat(np.arange(3, dtype=np.uint8), 16 * 24 * 3).reshape(3, 16, 24, 3)
    assert resized(images, (16, 24)) is images
    assert resized(images, 8).shape == (3, 8, 8, 3)
    small = resized(images, (8, 12))
    assert small.shape == (3, 8, 12, 3) and places_of(small) == [0, 1, 2]


def letterboxed(tmp_path, **changes):
    """Return the spec and pictures 8 wide and 16 high in 24 x 16, bluer to the right."""
    picture = np.zeros((16, 8, 3), np.uint8)
    picture[..., 0] = 10 * np.arange(8)
    folder = tmp_path / 'tall'
    folder.mkdir()
    for number in range(16):
        assert cv2.imwrite(str(folder / f'{number}.png'), picture)
    fed = replace(FED, resize='letterbox', **changes)
    return fed, read_footage(folder, fed).images


@pytest.mark.parametrize('padding', [None, (1, 2, 3)])
def test_a_picture_at_the_top_left_is_mirrored_where_it_stands(tmp_path, padding):
    fed, images = letterboxed(tmp_path, placement='top_left', padding=padding)
    before = images.copy()
    turned, shares = mirror(images, fed)
    assert turned[3, 5, :8, 0].tolist() == [70, 60, 50, 40, 30, 20, 10, 0]
    assert (turned[:, :, 8:] == (padding or (114, 114, 114))).all()
    assert shares == pytest.approx(np.full(16, 8 / 24))
    np.testing.assert_array_equal(images, before)
    np.testing.assert_array_equal(mirror(turned, fed)[0], images)


def test_an_input_of_nothing_but_padding_is_mirrored():
    images = np.full((1, 16, 24, 3), 114, np.uint8)
    turned, shares = mirror(images, replace(FED, resize='letterbox', placement='top_left'))
    assert (turned == 114).all() and shares == [1]


def test_other_inputs_are_mirrored_whole(tmp_path):
    fed, images = letterboxed(tmp_path)
    turned, shares = mirror(images, fed)
    assert turned[3, 5, 8:16, 0].tolist() == [70, 60, 50, 40, 30, 20, 10, 0]
    assert (shares == 1).all()


def test_the_digest_of_a_file_is_that_of_its_contents(tmp_path):
    path = tmp_path / 'walk.avi'
    writer = cv2.VideoWriter(str(path), cv2.VideoWriter.fourcc(*'MJPG'), 10, (48, 32))
    for place in range(20):
        writer.write(np.full((32, 48, 3), 10 * place, np.uint8))
    writer.release()
    found = read_footage(path, FED)
    assert len(found.images) == 20 and found.source_size == (48, 32)
    assert found.digest == hashlib.sha256(path.read_bytes()).hexdigest()
