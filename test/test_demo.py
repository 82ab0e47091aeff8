# Copyright 2026 the prune_perception authors
# SPDX-License-Identifier: Apache-2.0

"""The demo as a user runs it: two processes, real DDS, the recording that is shipped."""

import os
from pathlib import Path
import signal
import subprocess
import sys

import cv2
import numpy as np
import pytest
from robot import free_domain

from prune_perception.frames.recording import open_recording


def demo(*words: str, **variables: str) -> 'subprocess.Popen[str]':
    return subprocess.Popen(
        [sys.executable, '-m', 'prune_perception.cli.main', 'demo', *words],
        env={**os.environ, 'ROS_DOMAIN_ID': str(free_domain()), **variables},
        text=True, stdout=subprocess.PIPE, stderr=subprocess.STDOUT,
        # A shell without job control starts what is in the background deaf to Ctrl-C.
        preexec_fn=lambda: signal.signal(signal.SIGINT, signal.default_int_handler))


@pytest.mark.slow
def test_every_result_comes_back_under_its_own_stamp(tmp_path: Path) -> None:
    process = demo('--output', str(tmp_path), '--rate', '2')
    text, _ = process.communicate(timeout=120)
    assert process.returncode == 0, text
    assert '120 images sent' in text
    assert 'each under the stamp of its image: yes' in text
    lines = [line for line in text.splitlines() if ' Hz ' in line and ' person' in line]
    assert len(lines) >= 4, text
    picture = cv2.imread(str(tmp_path / 'annotated.jpg'))
    assert picture.shape == (576, 768, 3)
    with open_recording(tmp_path / 'annotated.mp4') as clip:
        assert sum(1 for _ in clip) > 60
    assert 'Traceback' not in text


@pytest.mark.slow
def test_ctrl_c_ends_it_with_the_summary(tmp_path: Path) -> None:
    process = demo('--output', str(tmp_path))
    assert process.stdout is not None
    text = ''
    for line in process.stdout:
        text += line
        if ' Hz ' in line:
            process.send_signal(signal.SIGINT)
            break
    rest, _ = process.communicate(timeout=60)
    assert process.returncode == 0, text + rest
    assert 'stopped early' in rest
    assert 'images sent' in rest
    assert 'Traceback' not in rest


@pytest.mark.slow
@pytest.mark.parametrize('request_to_end', [signal.SIGTERM, signal.SIGHUP])
def test_no_node_is_left_behind(tmp_path: Path, request_to_end: signal.Signals) -> None:
    process = demo('--output', str(tmp_path))
    assert process.stdout is not None
    for line in process.stdout:
        if ' Hz ' in line:
            break
    nodes = children(process.pid)
    assert len(nodes) == 2
    process.send_signal(request_to_end)
    process.communicate(timeout=60)
    assert not [node for node in nodes if Path(f'/proc/{node}').exists()]


def children(process: int) -> list[int]:
    parents = {int(path.parent.name): path.read_text().rpartition(') ')[2].split()[1]
               for path in Path('/proc').glob('[0-9]*/stat')}
    return [child for child, parent in parents.items() if parent == str(process)]


@pytest.mark.slow
def test_own_folder_of_images(tmp_path: Path) -> None:
    for index in range(15):
        cv2.imwrite(str(tmp_path / f'{index:02}.png'), np.full((240, 320, 3), 90, np.uint8))
    process = demo('--bag', str(tmp_path), '--output', str(tmp_path / 'out'))
    text, _ = process.communicate(timeout=60)
    assert process.returncode == 0, text
    assert '/camera/image_raw\n' in text
    assert 'nothing' in text


def test_recording_that_is_not_there(tmp_path: Path) -> None:
    process = demo('--bag', str(tmp_path / 'none.mcap'))
    text, _ = process.communicate(timeout=30)
    assert process.returncode == 1
    assert text.count('\n') == 1 and 'none.mcap' in text


def test_output_that_cannot_be() -> None:
    process = demo('--output', '/dev/null/out')
    text, _ = process.communicate(timeout=30)
    assert process.returncode == 1
    assert 'demo: /dev/null/out: cannot be made' in text
    assert 'Traceback' not in text


@pytest.mark.parametrize('words', [
    ('--rate', '0'), ('--rate', 'nan'), ('--threads', '-1'), ('--threads', 'all')])
def test_words_that_are_wrong(words: tuple[str, str]) -> None:
    process = demo(*words)
    text, _ = process.communicate(timeout=30)
    assert process.returncode == 2
    assert words[0] in text


def test_model_that_is_not_there() -> None:
    process = demo('--model', 'no_such_model')
    text, _ = process.communicate(timeout=30)
    assert process.returncode == 1
    assert text.count('\n') == 1 and 'no_such_model' in text
