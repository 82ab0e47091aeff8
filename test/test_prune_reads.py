# Copyright 2026 the prune_perception authors
# SPDX-License-Identifier: Apache-2.0

"""
Which frames pruning reads for what: to fit, to select, and to certify, once and at the end.

Each frame of the recording bears its number in its red, which the network does not look at. Of a
recording that is too long, few frames are kept to prune by; the certificate is by all of its part.
"""

from collections.abc import Iterator, Sequence
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

pytest.importorskip('torch')
pytest.importorskip('torch_pruning')
pytest.importorskip('onnx')
pytest.importorskip('onnxruntime')
pytest.importorskip('pycocotools')

from blobs import Blob
from labelled_bags import write_labelled_bag
from prunable import networks_in_use, write_squares

from prune_perception.bundle import write_bundle
from prune_perception.energy.hardware import load_profile
from prune_perception.frames.recording import RecordingError
from prune_perception.pruning import certify_bundles as on_bundles
from prune_perception.pruning import footage, pruner
from prune_perception.pruning.certificate import TRACK
from prune_perception.pruning.certify_bundles import certify_bundles
from prune_perception.pruning.distillation import Settings
from prune_perception.pruning.footage import FootageError
from prune_perception.pruning.latency import Latency
from prune_perception.pruning.planner import Planner
from prune_perception.pruning.pruner import Request
from prune_perception.pruning.splits import CERTIFY, split
from prune_perception.runtime.detector import Detector

FRAMES, FIRST, KEPT, RATE = 200, 11, 50, 10
RED = 2
SEED = 5
LIMIT = 1000.0  # s


def scene(number: int) -> list[Blob]:
    """Return a person who walks slowly, a dog who stands, and the number of the frame."""
    return [(0, number // 10 % 8, 0, 255), (3, 3, 1, 230), (2, 7, RED, number)]


def marks(images: Any) -> list[int]:
    """Return the numbers that frames bear."""
    return [int(image[..., RED].max()) for image in images]


@pytest.fixture(scope='module')
def done(tmp_path_factory: pytest.TempPathFactory) -> Iterator[SimpleNamespace]:
    """Prune once, and remember what each step was given: (step, frames), in their order."""
    folder = tmp_path_factory.mktemp('reads')
    stamps = list(range(1, FRAMES + 1))
    bag = write_labelled_bag(
        folder / 'walk', stamps, {}, pictures={stamp: scene(stamp) for stamp in stamps},
        times=[stamp * 10 ** 9 // RATE for stamp in stamps])
    reads: list[tuple[str, list[int]]] = []
    kept = SimpleNamespace(reads=reads, observed=[], restored=[], settings=None)
    agreements = iter(0.5 + 0.01 * call for call in range(100))
    with networks_in_use(), pytest.MonkeyPatch.context() as patch:
        def spy(name: str, step: str, place: int) -> None:
            function = getattr(pruner, name)

            def remember(*given: Any, **named: Any) -> Any:
                reads.append((step, marks(given[place])))
                return function(*given, **named)

            patch.setattr(pruner, name, remember)

        spy('predict', 'forecast', 3)
        spy('detections_of', 'agree', 2)
        observe, restore, distil = Planner.observe, pruner.restore, pruner.distil

        def observe_them(self: Planner, images: Any, *others: Any, **named: Any) -> Any:
            kept.observed.append((marks(images), observe(self, images, *others, **named)))
            return kept.observed[-1][1]

        def restore_it(module: Any, fit: Any, select: Any, *others: Any, **named: Any) -> Any:
            kept.restored.append((fit, select))
            return restore(module, fit, select, *others, **named)

        def distil_it(
                module: Any, teacher: Any, fit: Any, select: Any, head: Any, fed: Any,
                settings: Settings, *others: Any) -> Any:
            reads.append(('distil, fit', marks(fit)))
            reads.append(('distil, select', marks(select)))
            kept.settings = settings
            return distil(module, teacher, fit, select, head, fed,
                          replace(settings, seconds=None, steps=1), *others)

        class Watched(Detector):
            def detect(self, image: Any) -> Any:
                reads.append((f'certify, {self.bundle.folder.name}', marks([image])))
                return super().detect(image)

        patch.setattr(Planner, 'observe', observe_them)
        patch.setattr(pruner, 'restore', restore_it)
        patch.setattr(pruner, 'distil', distil_it)
        patch.setattr(on_bundles, 'Detector', Watched)
        patch.setattr(pruner, 'agreement', lambda *_: next(agreements))
        patch.setattr(pruner, 'compare', lambda *_, **__: Latency(
            0.01, 0.005, 2.0, 'onnxruntime', 'a machine'))
        patch.setattr(footage, '_MOST_BYTES', KEPT * 32 * 64 * 3)
        kept.request = Request(
            write_squares(folder / 'dense'), bag, load_profile('eyeriss_65nm'),
            frames=(FIRST, FRAMES), energy_budget=0.5, time_limit=LIMIT, seed=SEED,
            resize=False, name='small', command='a test')
        kept.job = pruner._Job(kept.request, None)
        kept.found = kept.job.run()
        yield kept


def parts(done: SimpleNamespace) -> tuple[Sequence[int], Sequence[int], Sequence[int]]:
    """Return the numbers of the frames that were kept for each purpose."""
    numbers = done.found.footage.numbers
    assert marks(done.found.footage.images) == list(numbers)
    assert len(numbers) == KEPT and numbers[0] == FIRST
    wanted = split(KEPT, 49 * RATE / (numbers[-1] - FIRST))
    assert done.found.splits == wanted
    return tuple([numbers[position] for position in part]  # type: ignore[return-value]
                 for part in (wanted.fit, wanted.select, wanted.certify))


def test_each_step_reads_its_own_frames_and_no_other(done: SimpleNamespace) -> None:
    fit, select, _ = parts(done)
    assert [read for read, _ in done.observed] == [fit, select]
    # The ridge is chosen by what was observed on the frames to select by.
    (observed_fit, observed_select), = done.restored
    assert observed_fit is done.observed[0][1] and observed_select is done.observed[1][1]
    assert set(done.found.ridges) and all(done.found.ridges.values())
    wanted = {'forecast': select, 'agree': select, 'distil, fit': fit, 'distil, select': select}
    read = [(step, frames) for step, frames in done.reads if not step.startswith('certify')]
    assert {step for step, _ in read} == set(wanted)
    assert all(frames == wanted[step] for step, frames in read)


def test_frames_to_certify_on_are_read_once_all_of_them_and_at_the_end(
        done: SimpleNamespace) -> None:
    _, select, certify = parts(done)
    every = list(range(certify[0], certify[-1] + 1))
    assert len(every) > 3 * len(certify) and select[-1] < every[0]
    first = next(place for place, (step, _) in enumerate(done.reads) if 'certify' in step)
    read = done.reads[first:]
    assert len(read) == 2 * len(every)
    for place, frame in enumerate(every):  # both, one frame after the other
        assert [frames for _, frames in read[2 * place:2 * place + 2]] == [[frame]] * 2
    assert {step for step, _ in read[::2]} == {'certify, dense'}
    assert {step for step, _ in read[1::2]} == {'certify, network'}


def test_the_certificate_is_by_tracks_at_the_rate_of_the_recording(done: SimpleNamespace) -> None:
    _, _, certify = parts(done)
    found = done.found.certificate
    assert (found.source.first_frame, found.source.last_frame) == (certify[0], certify[-1])
    # Of the frames that were kept to prune by there are fewer in a second.
    assert done.found.footage.frame_rate < 3 < found.source.frame_rate == RATE
    assert (found.unit, found.block_frames) == (TRACK, 5 * RATE)
    assert (found.source.digest, found.source.set_aside) == (done.found.footage.digest, CERTIFY)
    assert done.found.card.certificate == found.to_dict()


def test_the_certificate_is_that_of_the_bundle_that_is_shipped(
        done: SimpleNamespace, tmp_path: Path) -> None:
    shipped = write_bundle(tmp_path / 'small', done.found.card, done.found.files)
    source = done.found.certificate.source
    assert certify_bundles(
        done.request.bundle, shipped, done.request.data,
        part=(source.first_frame, source.last_frame), set_aside=CERTIFY) == done.found.certificate


def test_unrelated_pictures_are_certified_one_by_one(
        done: SimpleNamespace, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(done.job, '_request', replace(done.request, unrelated=True))
    apart = done.job._certify(done.found.card, done.found.files, lambda *_: None)
    assert apart.unit == 'picture'
    assert apart.overall.of_units.units == apart.source.frames


def test_a_recording_that_is_gone_at_the_end_is_told(
        done: SimpleNamespace, monkeypatch: pytest.MonkeyPatch) -> None:
    def gone(*_: Any, **__: Any) -> Any:
        raise RecordingError('walk: there is no such file or folder')

    monkeypatch.setattr(on_bundles, 'open_recording', gone)
    with pytest.raises(FootageError, match='^walk: there is no such.*could be read before'):
        done.job._certify(done.found.card, done.found.files, lambda *_: None)


def test_the_card_says_what_the_last_network_is_worth(done: SimpleNamespace) -> None:
    stages = done.found.agreement
    assert list(stages) == ['dense at this size', 'restoration', 'distillation']
    assert len(set(stages.values())) == 3
    figure, = (one for one in done.found.card.measured if one['figure'] == 'agreement_ap50')
    assert figure['value'] == stages['distillation'] == max(stages.values())
    assert figure['frames'] == len(done.found.splits.select)
    provenance = done.found.card.provenance
    assert (provenance.seed, provenance.distilled) == (SEED, True)
    assert (provenance.parent, provenance.data) == (
        done.request.bundle.digest, done.found.footage.digest)
    assert done.settings.seed == SEED


def test_time_is_left_for_what_comes_after_distillation(
        done: SimpleNamespace, monkeypatch: pytest.MonkeyPatch) -> None:
    certifying = done.job._seconds_to_certify()
    assert 0 < certifying < pruner._MOST_TO_CERTIFY * LIMIT
    assert 0 < done.settings.seconds <= LIMIT - pruner._RESERVED_SECONDS - certifying
    # By hand: 3 s to read, and half a second for a look of either network at each frame.
    monkeypatch.setitem(done.job._stage.seconds, 'read the footage', 3.0)
    monkeypatch.setitem(done.job._stage.seconds, 'see what the dense network sees',
                        0.5 * len(done.found.splits.select))
    frames = done.found.certificate.source.frames
    assert done.job._seconds_to_certify() == pytest.approx(3 + 2 * 0.5 * frames)
    # A long recording takes no more than its share from distillation.
    given: list[Settings] = []
    monkeypatch.setattr(pruner, 'distil', lambda *words: given.append(words[6]) or ())
    monkeypatch.setattr(pruner._Job, '_seconds_to_certify', lambda self: 1e9)
    monkeypatch.setattr(done.job, '_begin', pruner.time.monotonic())
    planner = done.job._full
    done.job._distil(planner, planner.network)
    left = LIMIT * (1 - pruner._MOST_TO_CERTIFY) - pruner._RESERVED_SECONDS
    assert 0 < given[0].seconds <= left


def test_a_certificate_that_exceeds_the_time_limit_is_noted(
        done: SimpleNamespace, monkeypatch: pytest.MonkeyPatch) -> None:
    assert not done.found.notes
    monkeypatch.setattr(done.job, '_notes', [])
    monkeypatch.setattr(done.job, '_request', replace(done.request, time_limit=1e-6))
    done.job._note_delay(done.found.certificate)
    note, = done.job._notes
    assert note.endswith(f'all {done.found.certificate.source.frames} frames that are kept aside')
