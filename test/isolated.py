# Copyright 2026 the prune_perception authors
# SPDX-License-Identifier: Apache-2.0

"""
Runs a job in the network namespace that it finds itself in, and prints what left it, as JSON.

    unshare --net --mount --map-root-user python isolated.py JOB ENGINE FOLDER [--outside]

Without ``--outside`` there is loopback alone. With it there is an interface to the world.
"""

import argparse
import contextlib
import itertools
import json
import os
from pathlib import Path
import socket
import subprocess
import sys
import time

from outside import (
    bring_loopback_up,
    Capture,
    NAME_SERVER,
    Outside,
    paths_of_ipv4,
    TcpWatch,
    use_name_server,
)

from prune_perception.frames.recording import Frame, open_recording
from prune_perception.resources import find_model, find_resource

# Until an engine that was not told otherwise reports its use.
SECONDS_TO_THE_FIRST_REPORT = {'onnxruntime': 15.0, 'openvino': 3.0, 'torch': 1.0}

TEST = Path(__file__).resolve().parent


def frames(number: int) -> list[Frame]:
    """Return the first frames of the recording that is shipped."""
    with open_recording(find_resource('demo', 'pedestrians')) as recording:
        return list(itertools.islice(recording, number))


def run(*words: str | Path, before: str = 'pass') -> None:
    """
    Run the command in a process of its own, of which also what comes at its end is seen.

    :param before: code that comes before it.
    """
    code = f'import sys; {before}; from prune_perception.cli.main import main; sys.exit(main())'
    subprocess.run(
        [sys.executable, '-c', code, *words], check=True, stdout=sys.stderr,
        env={**os.environ, 'PYTHONPATH': os.pathsep.join((str(TEST), str(TEST.parent)))})


def evaluate(engine: str, folder: Path, outside: Outside | None) -> None:
    """Judge a model on pictures, and measure the time of its layers."""
    import cv2

    pictures = folder / 'pictures'
    pictures.mkdir()
    for frame in frames(8):
        cv2.imwrite(str(pictures / f'{frame.index:03}.png'), frame.image())
    run('evaluate', pictures, '--model', 'nanodet_g_person_25', '--reference',
        'nanodet_g_person_50', '--engine', engine, '--threads', '1', '--bootstrap', '0',
        '--no-timing')


def profile(engine: str, folder: Path, outside: Outside | None) -> None:
    """Say where a model spends its energy, and its time."""
    run('profile', 'nanodet_g_person_10', '--measure', engine, '--threads', '1')


def prune(engine: str, folder: Path, outside: Outside | None) -> None:
    """Prune a detector; ``engine`` means nothing here."""
    import prunable

    with prunable.networks_in_use():
        prunable.write_squares(folder / 'dense')
    prunable.write_footage(folder / 'footage', frames=20)
    # A network of some microseconds may be slower where something else runs beside.
    run('prune', folder / 'dense', '--data', folder / 'footage', '--no-distill',
        '-o', folder / 'out', before='import prunable; prunable.use_networks(); from '
        'prune_perception.pruning import pruner; pruner._LEAST_SPEEDUP = 0')


def quantize(engine: str, folder: Path, outside: Outside | None) -> None:
    """Quantise a detector by NNCF, to be run by both engines; ``engine`` means nothing here."""
    import prunable

    with prunable.networks_in_use():
        prunable.write_squares(folder / 'dense')
    prunable.write_footage(folder / 'footage')
    run('quantize', folder / 'dense', '--data', folder / 'footage', '--quantiser', 'nncf',
        '-o', folder / 'out', before='import prunable; prunable.use_networks()')


def onboard(engine: str, folder: Path, outside: Outside | None) -> None:
    """Let a detector answer a camera, over DDS, beside a power monitor."""
    from robot import detector, people, raw

    image = frames(1)[0].image()
    with detector(
            parameters={'autostart': True, 'engine': engine, 'threads': 1,
                        'model': 'nanodet_g_person_25'},
            beside={'power_monitor': {}}) as robot:
        assert people(robot.answer(raw(image)))
        # That of ONNX Runtime comes ten seconds after its first session.
        if outside is not None:
            robot.spin(SECONDS_TO_THE_FIRST_REPORT[engine])
        assert people(robot.answer(raw(image)))


def engine_alone(engine: str, folder: Path, outside: Outside | None) -> None:
    """Use an engine without this package, until it reports that to its maker."""
    assert outside is not None
    model = find_model('nanodet_g_person_10') / 'model.onnx'
    code = {'onnxruntime': f'session = onnxruntime.InferenceSession({str(model)!r})',
            'openvino': 'pass', 'nncf': 'from nncf.telemetry.wrapper import telemetry; '
            'telemetry.start_session("ptq")'}[engine]
    process = subprocess.Popen(
        [sys.executable, '-c', f'import {engine}, time; {code}; time.sleep(60)'])
    try:
        deadline = time.monotonic() + 30
        while not outside.packets() and time.monotonic() < deadline:
            time.sleep(0.1)
    finally:
        process.kill()
        process.wait()


def control(engine: str, folder: Path, outside: Outside | None) -> None:
    """Do all that must be seen."""
    for family, address in (
            (socket.AF_INET, '192.0.2.1'), (socket.AF_INET, '198.51.100.7'),
            (socket.AF_INET6, '2001:db8:1::7')):
        with socket.socket(family, socket.SOCK_DGRAM) as datagrams:
            datagrams.sendto(b'an image', (address, 9))
    with contextlib.suppress(OSError):
        socket.getaddrinfo('telemetry.example', 443)
    with contextlib.suppress(OSError):
        socket.create_connection((NAME_SERVER, 443), timeout=0.3)
    # Also within the host, and without a word.
    with socket.create_server(('127.0.0.1', 0)) as server:
        socket.create_connection(server.getsockname()).close()


JOBS = {job.__name__: job for job in (
    evaluate, profile, prune, quantize, onboard, engine_alone, control)}


def main() -> None:
    """Run the jobs, in their order."""
    parser = argparse.ArgumentParser()
    parser.add_argument('jobs')
    parser.add_argument('engine')
    parser.add_argument('folder', type=Path)
    parser.add_argument('--outside', action='store_true')
    words = parser.parse_args()
    bring_loopback_up()
    home = words.folder / 'home'
    home.mkdir()
    os.environ['HOME'] = str(home)  # where engines leave identifiers
    outside = None
    if words.outside:
        use_name_server(words.folder)
        outside = Outside()
    within = Capture('lo')
    watch = TcpWatch()
    for name in words.jobs.split(','):
        JOBS[name](words.engine, words.folder, outside)
    print(json.dumps({
        'tcp': watch.end(), 'packets': outside.packets() if outside is not None else None,
        'within': paths_of_ipv4(within),
        'interfaces': [name for _, name in socket.if_nameindex()],
        'home': sorted(str(path.relative_to(home)) for path in home.rglob('*')
                       if path.is_file())}))


if __name__ == '__main__':
    main()
