# Copyright 2026 the prune_perception authors
# SPDX-License-Identifier: Apache-2.0

"""The prune potential: its rules by hand, and ladders whose every figure is known."""

from collections import Counter
from collections.abc import Callable, Mapping
from dataclasses import replace
import errno
from io import StringIO
import json
from pathlib import Path
from typing import Any

import pytest

pytest.importorskip('onnx')
pytest.importorskip('onnxruntime')
pytest.importorskip('pycocotools')

from blobs import Blob, box_of, DOG, draw_blobs, PERSON, score_of, write_blobs, write_pictures
from bundles import small_card
import numpy as np
from pages import Structure
from rich.console import Console

from prune_perception.bundle import Quantisation, read_bundle
from prune_perception.cli.main import main
from prune_perception.detections import Detections
from prune_perception.evaluation import files, potential_survey
from prune_perception.evaluation.figures import Settings
from prune_perception.evaluation.ground_truth import GroundTruthError
from prune_perception.evaluation.intervals import Interval
from prune_perception.evaluation.job_error import JobError
from prune_perception.evaluation.potential import (
    Condition,
    Figure,
    LEAST_CONSISTENCY,
    LEAST_OBJECTS,
    potential,
    PotentialError,
    Rung,
    Survey,
    Verdict,
    why_unjudged,
)
from prune_perception.evaluation.potential_report import html_report, print_survey, sentences
from prune_perception.evaluation.potential_survey import MirroredDetector, survey
from prune_perception.evaluation.replay import digest_of
from prune_perception.evaluation.runs import FrameResult, ModelRun
from prune_perception.runtime.detector import Detector
from prune_perception.runtime.engines import EngineOptions

ENGINE = EngineOptions(threads=1)
FRAMES = 30
BRIGHT = 230
SHY = 5.0  # what is bright it sees, with a score of 0.8; of what low_light 1 leaves, nothing
PROFILE = 'eyeriss_65nm'

HALF, QUARTER, TENTH = (Rung(name, '0' * 64, share) for name, share in (
    ('half', 0.5), ('quarter', 0.25), ('tenth', 0.1)))


def figure(value: float, reach: float = 0.01) -> Figure:
    return Figure(value, Interval(value - reach, value + reach))


def condition(name: str, severity: int, losses: Mapping[Rung, float], **more: Any) -> Condition:
    consistency = 0.95
    return Condition(
        name, severity, 100, consistency,
        agreements={rung.name: figure(consistency - loss) for rung, loss in losses.items()},
        losses={rung.name: figure(loss) for rung, loss in losses.items()}, **more)


def of(*conditions: Condition, **changes: Any) -> Survey:
    return Survey(**{
        'dense': 'whole', 'dense_digest': '1' * 64, 'rungs': (HALF, QUARTER, TENTH),
        'conditions': conditions, 'largest_loss': 0.05, 'up_to': 3, 'class_names': ('person',),
        'source': 'walk.mcap', 'data_digest': '2' * 64, 'frames': 50, 'part': (1, None, 1),
        'labels': None, 'block': 7, 'settings': Settings(), **changes})


# ---- the rules, by hand

@pytest.mark.parametrize(('value', 'reach', 'verdict'), [
    (0.02, 0.01, Verdict.SURE), (-0.1, 0.01, Verdict.SURE),
    (0.039, 0.01, Verdict.SURE), (0.045, 0.01, Verdict.SURVIVES), (0.05, 0.0, Verdict.SURE),
    (0.051, 0.0001, Verdict.FAILS), (0.2, 0.19, Verdict.FAILS)])
def test_verdicts(value: float, reach: float, verdict: Verdict) -> None:
    assert figure(value, reach).verdict(0.05) is verdict


def test_without_an_interval_nothing_is_sure() -> None:
    assert Figure(0.0, None).verdict(0.05) is Verdict.SURVIVES
    assert Figure(0.1, None).verdict(0.05) is Verdict.FAILS


@pytest.mark.parametrize(('losses', 'expected'), [
    ((0.0, 0.02, 0.2), 0.75), ((0.0, 0.0, 0.0), 0.9), ((0.2, 0.2, 0.2), 0.0),
    ((0.0, 0.045, 0.2), 0.75),  # by the loss, though its interval goes beyond
    ((0.1, 0.1, 0.01), 0.9)])  # a rung that was made badly hides none below it
def test_potential_is_the_largest_saving_that_survives(
        losses: tuple[float, ...], expected: float) -> None:
    rungs = (HALF, QUARTER, TENTH)
    figures = {rung.name: figure(loss) for rung, loss in zip(rungs, losses, strict=True)}
    for order in (rungs, rungs[::-1], (QUARTER, TENTH, HALF)):
        assert potential(order, figures, 0.05) == pytest.approx(expected)


def test_a_rung_dearer_than_the_dense_one_saves_nothing() -> None:
    dear = Rung('dear', '3' * 64, 1.2)
    assert potential([dear], {'dear': figure(0.0)}, 0.05) == 0.0
    assert of(condition('', 0, {dear: 0.0}), rungs=(dear,)).recommended is None


def test_nothing_is_said_of_what_the_dense_one_does_not_see() -> None:
    assert potential([HALF], {}, 0.05) is None
    assert why_unjudged(0, None) == 'dense sees nothing'
    assert why_unjudged(LEAST_OBJECTS - 1, 1.0) == 'dense sees too little (39 objects)'
    assert why_unjudged(LEAST_OBJECTS, LEAST_CONSISTENCY) == ''
    assert why_unjudged(LEAST_OBJECTS, 0.49) == 'dense contradicts itself (0.49)'


CLEAN = condition('', 0, {HALF: 0.0, QUARTER: 0.01, TENTH: 0.03})
FOG_1 = condition('fog', 1, {HALF: 0.0, QUARTER: 0.02, TENTH: 0.12})
FOG_3 = condition('fog', 3, {HALF: 0.01, QUARTER: 0.045, TENTH: 0.3})
FOG_4 = condition('fog', 4, {HALF: 0.02, QUARTER: 0.06, TENTH: 0.35})
FOG_5 = condition('fog', 5, {HALF: 0.4, QUARTER: 0.4, TENTH: 0.4})
DARK_3 = Condition('low_light', 3, 7, 0.9, reason='dense sees too little (7 objects)')


def test_recommended_survives_all_that_is_asked() -> None:
    found = of(CLEAN, FOG_1, FOG_3, FOG_4, FOG_5, DARK_3)
    assert found.recommended is QUARTER and found.sure is HALF
    assert found.judged == (CLEAN, FOG_1, FOG_3)  # not beyond severity 3, and not the dark
    assert [found.potential(each) for each in found.conditions] == pytest.approx(
        [0.9, 0.75, 0.75, 0.5, 0.0, None])
    assert found.those(TENTH, Verdict.FAILS) == (FOG_3, FOG_1)
    assert found.those(QUARTER, Verdict.FAILS) == ()
    assert found.those(QUARTER, Verdict.SURVIVES) == (FOG_3,)
    assert found.those(QUARTER, Verdict.SURE) == (FOG_1, CLEAN)
    for up_to, best in ((1, QUARTER), (4, HALF), (5, None)):
        assert of(CLEAN, FOG_1, FOG_3, FOG_4, FOG_5, up_to=up_to).recommended is best
    assert of(CLEAN, FOG_1, FOG_3, largest_loss=0.4).recommended is TENTH


def test_words() -> None:
    assert sentences(of(CLEAN, FOG_1, FOG_3, FOG_5, DARK_3)) == (
        'recommended: quarter, which saves 75.0% of the modelled energy of whole and loses 0.05 '
        'or less as recorded and under 2 conditions up to severity 3',
        'that is sure under 2 of 3; in doubt: fog 3: loses 0.045 (0.035 to 0.055)',
        'not tenth (90.0% saved): it fails under 2 of 3. fog 3: loses 0.300 (0.290 to 0.310); '
        'fog 1: loses 0.120 (0.110 to 0.130)',
        'of the saving survives: 90.0% as recorded, 75.0% as recorded and under 2 conditions up '
        'to severity 3',
        'nothing is said of low light 3 (dense sees too little (7 objects))')
    none = sentences(of(FOG_5, up_to=5))
    assert none[0].startswith('recommended: stay with whole; no rung loses 0.05 or less as')
    clean = sentences(of(CLEAN))
    assert clean[0].endswith('loses 0.05 or less as recorded')
    assert clean[1:] == (
        'that is sure under it: the upper end of its 95 % interval is within as well',)


# ---- ladders whose figures are known

def energy(macs: float, **more: Any) -> dict[str, Any]:
    return {PROFILE: {
        'modelled': True, 'profile': PROFILE, 'word_bits': 16, 'batch': 1,
        'total': {'energy_mac': macs}, **more}}


@pytest.fixture(scope='module')
def bundles(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """Write a dense detector, one that sees the same, and one that does not see in the dark."""
    folder = tmp_path_factory.mktemp('bundles')
    write_blobs(folder / 'dense', energy=energy(1000.))
    write_blobs(folder / 'bold', energy=energy(500.))
    write_blobs(folder / 'shy', SHY, energy=energy(250.))
    return {name: folder / name for name in ('dense', 'bold', 'shy')}


def scene(number: int) -> list[Blob]:
    return [(number % 4, number % 4, PERSON, BRIGHT), (number % 4, 5 + number % 3, DOG, BRIGHT)]


@pytest.fixture(scope='module')
def walk(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_pictures(
        tmp_path_factory.mktemp('recordings') / 'walk', [scene(each) for each in range(FRAMES)])


def run(walk: Path, bundles: Mapping[str, Path], *ladder: str, **options: Any) -> Survey:
    return survey(
        walk, [bundles[name] for name in ladder or ('shy', 'bold')], bundles['dense'],
        **{'corruptions': ['low_light'], 'severities': [5, 1], 'engine': ENGINE, **options})


def test_a_ladder_in_the_dark(walk: Path, bundles: dict[str, Path]) -> None:
    found = run(walk, bundles)
    assert [(rung.name, rung.share) for rung in found.rungs] == [('bold', 0.5), ('shy', 0.25)]
    assert found.rungs[0].digest == read_bundle(bundles['bold']).digest
    clean, dim, dark = found.conditions
    assert [each.name for each in found.conditions] == ['as recorded', 'low light 1',
                                                        'low light 5']
    # The dense detector is judged by what it sees itself in the dark, which is nothing at last.
    assert [each.objects for each in found.conditions] == [2 * FRAMES, 2 * FRAMES, 0]
    assert clean.consistency == dim.consistency == 1 and dark.consistency is None
    assert dark.reason == 'dense sees nothing' and dark.losses == {}
    assert clean.agreements['shy'] == Figure(1.0, Interval(1.0, 1.0))
    assert dim.losses['bold'] == Figure(0.0, Interval(0.0, 0.0))
    assert dim.losses['shy'] == Figure(1.0, Interval(1.0, 1.0))
    assert [found.potential(each) for each in found.conditions] == [0.75, 0.5, None]
    assert found.recommended is found.sure is found.rungs[0]
    assert found.those(found.rungs[1], Verdict.FAILS) == (dim,)
    assert found.class_names == ('person', 'dog') and found.labels is None and found.wrong == ()
    plain = found.to_json()
    assert plain['recommended'] == 'bold' and plain['limits'] == {
        'bold': [], 'shy': ['low light 1']}
    assert plain['conditions'][1]['rungs']['shy'] == {
        'verdict': 'fails', 'agreement': 0.0, 'agreement_interval': [0.0, 0.0], 'loss': 1.0,
        'loss_interval': [1.0, 1.0], 'excess_ap50': None, 'excess_ap50_interval': None}
    assert plain['conditions'][2]['rungs']['shy']['verdict'] is None
    assert json.loads(json.dumps(plain, allow_nan=False)) == plain


def test_what_the_dense_detector_is_not_confident_of_is_no_object(
        tmp_path: Path, bundles: dict[str, Path]) -> None:
    dim, point = 117, Settings().operating_point
    assert 0.95 * point < score_of(dim) < point  # just below
    walk = write_pictures(tmp_path / 'walk', [
        [*scene(each), (3 - each % 4, 7, PERSON, dim)] for each in range(FRAMES)])
    assert run(walk, bundles, 'bold', corruptions=[]).conditions[0].objects == 2 * FRAMES
    found = run(walk, bundles, 'bold', corruptions=[], settings=Settings(operating_point=0.3))
    assert found.conditions[0].objects == 3 * FRAMES


def test_what_a_rung_was_made_from_is_told(
        walk: Path, bundles: dict[str, Path], tmp_path: Path) -> None:
    """Of the footage and the parent: on the frames that it was fitted to a rung fares better."""
    provenance, dense = small_card().provenance, read_bundle(bundles['dense']).digest
    made = {
        'known': replace(provenance, command='prune known', data=digest_of(walk), parent=dense),
        'other': replace(provenance, data='3' * 64, parent='4' * 64),
        'fine': replace(provenance, data='3' * 64, parent=dense)}
    for name, each in made.items():
        write_blobs(tmp_path / name, energy=energy(500.), provenance=each)
    rungs = {'dense': bundles['dense'], 'bold': bundles['bold'],
             **{name: tmp_path / name for name in made}}
    found = run(walk, rungs, 'known', 'other', 'fine', 'bold', corruptions=[])
    assert [(note.split()[0], reason) for note in found.notes for reason in (
        'on this very recording', 'from another bundle', 'does not say what') if reason in note
    ] == [('known', 'on this very recording'), ('other', 'from another bundle'),
          ('bold', 'does not say what')]
    assert found.notes[0].endswith('made by: prune known')
    assert not any(note.startswith('fine ') for note in found.notes)
    console = Console(record=True, width=80, file=StringIO())
    print_survey(found, console)
    assert 'note: known was pruned on this very recording' in console.export_text()
    assert 'known was pruned on this very recording' in html_report(found)


def test_what_a_quantised_rung_was_made_from_is_told(
        walk: Path, bundles: dict[str, Path], tmp_path: Path) -> None:
    """Its parent is the bundle in float32: what was pruned is that one, if it is of the ladder."""
    provenance, dense = small_card().provenance, read_bundle(bundles['dense']).digest

    def write(name: str, parent: str | None, bits: int | None = 8, data: str = '3' * 64) -> str:
        return write_blobs(
            tmp_path / name, energy=energy(500.), provenance=replace(
                provenance, parent=parent, data=data),
            quantisation=None if bits is None else Quantisation(bits)).digest

    half, other = write('half', dense, None), write('other', '4' * 64, None)
    made = {'half_int8': half, 'dense_int8': dense, 'other_int8': other, 'alone_int8': '5' * 64,
            'unknown_int8': None}
    for name, parent in made.items():
        write(name, parent, data=digest_of(walk) if name == 'half_int8' else '3' * 64)
    rungs = {name: tmp_path / name for name in ('half', 'other', *made)}
    found = run(walk, {'dense': bundles['dense'], **rungs}, *rungs, corruptions=[])
    assert [note.partition(',')[0] if ', which' not in note else
            note.partition(', and')[0] for note in found.notes] == [
        'other was pruned from another bundle', 'half_int8 was quantised on this very recording',
        'other_int8 was quantised from other, which was pruned from another bundle',
        'alone_int8 was quantised from another bundle',
        'unknown_int8 does not say what it was quantised from']
    assert 'what quantising cost it is not told apart' in found.notes[3]
    assert 'what pruning cost it is not told apart' in found.notes[2]


def test_order_of_the_rungs_does_not_matter(walk: Path, bundles: dict[str, Path]) -> None:
    first, second = (run(walk, bundles, *names).to_json() for names in (
        ('shy', 'bold'), ('bold', 'shy')))
    assert {**first, 'date': ''} == {**second, 'date': ''}


def test_a_score_at_the_operating_point_is_confident(bundles: dict[str, Path]) -> None:
    """As for the agreement of `prune`: from 0.35 on."""
    scores = np.array([0.25, np.nextafter(np.float32(0.25), np.float32(0))], np.float32)
    seen = Detections(np.array([[0, 0, 9, 9]] * 2, np.float32), scores, np.zeros(2, np.int64))
    run = ModelRun('dense', '', ('person',), '', (FrameResult(3, 0, None, seen),))
    truth = potential_survey._truth_of(run, ('person',), 0.25)
    assert len(truth.frames[3].classes) == 1


def test_a_mirrored_image_has_its_boxes_where_they_are(bundles: dict[str, Path]) -> None:
    bundle = read_bundle(bundles['dense'])
    image = draw_blobs([(1, 0, PERSON, BRIGHT), (2, 5, DOG, 200)])
    seen = MirroredDetector(bundle, threads=1).detect(image).detections
    np.testing.assert_allclose(seen.boxes, [box_of(1, 0), box_of(2, 5)], atol=1e-4)
    assert seen.classes.tolist() == [PERSON, DOG]
    plain = Detector(bundle, threads=1).detect(image).detections
    np.testing.assert_allclose(seen.scores, plain.scores, atol=1e-6)


def test_a_loss_is_held_against_the_doubt_of_the_dense_detector(
        walk: Path, bundles: dict[str, Path], monkeypatch: pytest.MonkeyPatch) -> None:
    """Of the mirrored images it misses all in every third frame; a rung that does is as good."""
    seen = Counter[type]()

    def forgetful(kind: type[Detector]) -> None:
        detect = kind.detect

        def look(self: Detector, image: np.ndarray[Any, Any]) -> Any:
            seen[type(self)] += 1
            if kind is MirroredDetector and seen[type(self)] % 3 == 0:
                image = np.zeros_like(image)
            return detect(self, image)
        monkeypatch.setattr(kind, 'detect', look)

    forgetful(MirroredDetector)
    found = run(walk, bundles, 'shy', corruptions=[])
    clean = found.conditions[0]
    # Of 101 recalls those up to two thirds are reached, each at a precision of 1.
    assert clean.consistency == pytest.approx(67 / 101)
    assert clean.losses['shy'].value == pytest.approx(67 / 101 - 1)
    assert clean.agreements['shy'].value == 1


def test_the_dense_detector_runs_once_for_all_rungs(
        walk: Path, bundles: dict[str, Path], monkeypatch: pytest.MonkeyPatch) -> None:
    calls = Counter[str]()
    detect = Detector.detect

    def counted(self: Detector, image: np.ndarray[Any, Any]) -> Any:
        calls[self.bundle.card.name] += 1
        return detect(self, image)
    monkeypatch.setattr(Detector, 'detect', counted)
    found = run(walk, bundles, severities=[1], every=1, part=(3, 28))
    assert found.frames == 26
    assert calls == {'dense': 2 * 2 * 26, 'bold': 2 * 26, 'shy': 2 * 26}


def test_progress_ends_at_the_end(walk: Path, bundles: dict[str, Path]) -> None:
    told: list[tuple[str, float]] = []
    run(walk, bundles, 'bold', severities=[1], progress=lambda *now: told.append(now))
    shares = [share for _, share in told]
    assert shares == sorted(shares) and shares[0] == 0 and shares[-1] == 1
    assert list(dict.fromkeys(name for name, _ in told)) == ['as recorded', 'low_light 1']


def test_labels_give_the_excess_error(
        walk: Path, bundles: dict[str, Path], tmp_path: Path) -> None:
    """They are of people alone, and of one more in each frame than anybody sees."""
    rows = []
    for number in range(FRAMES):
        for place in (scene(number)[0][:2], (3 - number % 4, 7)):
            x1, y1, x2, y2 = box_of(*place)
            rows.append(f'{number + 1},{len(rows)},{x1},{y1},{x2 - x1},{y2 - y1},1,1,1\n')
    labels = tmp_path / 'gt.txt'
    labels.write_text(''.join(rows))
    found = run(walk, bundles, ground_truth=labels)
    clean, dim, dark = found.conditions
    half = 51 / 101  # of the recalls
    assert clean.dense_ap50 == dim.dense_ap50 == pytest.approx(half) and dark.dense_ap50 == 0
    assert clean.excesses['shy'].value == 0 and dim.excesses['bold'].value == 0
    assert dim.excesses['shy'].value == pytest.approx(half)
    # Nothing is said of the dark by agreement; by labels nothing is lost where all are blind.
    assert [found.potential_by_labels(each) for each in found.conditions] == [0.75, 0.5, 0.75]
    assert found.potential(dark) is None
    assert found.labels == str(labels)
    assert 'By labels' in Structure(html_report(found)).words


def test_classes_that_all_know_are_judged(
        walk: Path, bundles: dict[str, Path], tmp_path: Path) -> None:
    cat = write_blobs(tmp_path / 'cat', class_names=('person', 'cat'), energy=energy(100.))
    longer = write_pictures(tmp_path / 'longer', [scene(each) for each in range(45)])
    found = survey(longer, [cat.folder], bundles['dense'], corruptions=[], engine=ENGINE)
    assert found.class_names == ('person',)
    assert found.conditions[0].objects == 45  # without the dogs
    assert found.recommended is found.rungs[0]  # that it takes dogs for cats is not held against
    stranger = write_blobs(tmp_path / 'x', class_names=('cat', 'cow'), energy=energy(100.))
    with pytest.raises(GroundTruthError, match='dense: shares no class with every model; it has '
                                               'person, dog, the models have x: cat, cow'):
        survey(walk, [stranger.folder], bundles['dense'], engine=ENGINE)


# ---- what cannot be

@pytest.mark.parametrize(('changes', 'reason'), [
    ({'energy': {}}, 'bad: what it costs is not known, so that there is no saving to speak of'),
    ({'energy': energy(0.)}, 'bad: what it costs is not known'),
    ({'energy': energy(100., word_bits=8)}, 'its energy is of 8-bit words and batch 1, that of'),
    ({'energy': energy(100., batch=4)}, 'its energy is of 16-bit words and batch 4, that of')])
def test_savings_that_are_not_known(
        changes: dict[str, Any], reason: str, walk: Path, bundles: dict[str, Path],
        tmp_path: Path) -> None:
    bad = write_blobs(tmp_path / 'bad', **changes)
    with pytest.raises(JobError, match=reason) as caught:
        survey(walk, [bundles['bold'], bad.folder], bundles['dense'], engine=ENGINE)
    assert len(str(caught.value).splitlines()) == 1
    with pytest.raises(JobError, match='not known|do not compare'):
        survey(walk, [bundles['bold']], bad.folder, engine=ENGINE)


@pytest.mark.parametrize(('options', 'reason'), [
    ({'corruptions': ['hail']}, "corruption 'hail': there is none of that name"),
    ({'corruptions': ['frozen_frames']}, 'leaves the images as they are'),
    ({'severities': [6]}, 'severity must be 1 to 5'),
    ({'severities': [5, 4]}, 'no severity of 4, 5 is at most 3')])
def test_conditions_that_cannot_be(
        options: dict[str, Any], reason: str, walk: Path, bundles: dict[str, Path]) -> None:
    with pytest.raises(JobError, match=reason):
        run(walk, bundles, **options)


def test_ladders_that_cannot_be(walk: Path, bundles: dict[str, Path]) -> None:
    for ladder, reason in (
            ([], 'one bundle or more'), (['bold', 'dense'], 'is the reference'),
            (['bold', 'bold'], 'is given twice')):
        with pytest.raises(JobError, match=reason):
            survey(walk, [bundles[name] for name in ladder], bundles['dense'], engine=ENGINE)


def test_footage_by_which_nothing_can_be_told(
        walk: Path, bundles: dict[str, Path], tmp_path: Path) -> None:
    with pytest.raises(PotentialError, match='16 frames are too few .*5 blocks or more of 4'):
        run(walk, bundles, part=(1, 16))
    with pytest.raises(PotentialError, match='1 frame is too few .*5 blocks or more of 1 '):
        run(walk, bundles, part=(1, 1))
    with pytest.raises(PotentialError, match='has no frame 31, the recording ends with 30'):
        run(walk, bundles, part=(31, 40))
    night = write_pictures(tmp_path / 'night', [[]] * FRAMES)
    with pytest.raises(PotentialError, match='dense is confident of 0 objects'):
        run(night, bundles)


# ---- the command

@pytest.fixture
def command(walk: Path, bundles: dict[str, Path]) -> Callable[..., int]:
    def run(*words: str, data: Path = walk, reference: str | None = None) -> int:
        return main([
            'potential', str(bundles['shy']), str(bundles['bold']), '--data', str(data),
            '--reference', reference or str(bundles['dense']), '--threads', '1',
            '--bootstrap', '50', *words])
    return run


def test_command(command: Callable[..., int], tmp_path: Path,
                 capsys: pytest.CaptureFixture[str]) -> None:
    page, figures = tmp_path / 'out.html', tmp_path / 'out.json'
    assert command('--corruptions', 'low_light', '--severity', '1', '5', '--html', str(page),
                   '--json', str(figures)) == 0
    out, err = capsys.readouterr()
    assert 'recommended: bold, which saves 50.0% of the modelled energy of dense' in out
    lines = [line.split() for line in out.splitlines()]
    assert ['low', 'light', '1', '60', '1.000', '1.000', '0.000', '×', '50.0%'] in lines
    assert ['low', 'light', '5', '0', '–', '–', '–', 'dense', 'sees', 'nothing'] in lines
    assert err == '     0 s  show the frames\n'
    assert json.loads(figures.read_text())['recommended'] == 'bold'
    read = Structure(page.read_text())
    assert 'What survives bad weather, on walk' in read.words
    assert sum(name == 'svg' and attributes.get('role') == 'img'
               for name, attributes in read.attributes) == 2  # one for each severity
    assert [each.name for each in sorted(tmp_path.iterdir())] == ['out.html', 'out.json']


@pytest.mark.parametrize(('words', 'reason'), [
    (['--largest-loss', '1'], 'from 0.001 to 0.999'), (['--severity', '6'], 'invalid choice'),
    (['--every', '0'], 'of at least 1'), (['--frames', '9-3'], 'not a part of a recording'),
    (['--hardware', 'abacus'], "no hardware profile 'abacus'"),
    (['--json', '/absent/out.json'], 'cannot be written')])
def test_wrong_words(words: list[str], reason: str, command: Callable[..., int],
                     capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as caught:
        command(*words)
    assert caught.value.code == 2
    assert reason in capsys.readouterr().err


def test_a_reference_is_needed(walk: Path, bundles: dict[str, Path],
                               command: Callable[..., int],
                               capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as caught:
        main(['potential', str(bundles['shy']), '--data', str(walk)])
    assert caught.value.code == 2
    assert '--reference' in capsys.readouterr().err
    assert command(reference='absent') == 1
    assert capsys.readouterr().err.startswith("prune-perception potential: model 'absent': ")


def test_words_that_are_wrong_together(
        command: Callable[..., int], bundles: dict[str, Path], tmp_path: Path,
        capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(potential_survey, 'survey', None)  # the work does not begin
    out = tmp_path / 'out'
    for words, reason in (
            (['--truth-class', 'car'], '--truth-class: is for --ground-truth'),
            (['--json', str(out), '--html', str(out)], 'is read, or written besides'),
            (['--html', str(bundles['shy'] / 'model.yaml')], 'is there already, in'),
            (['--json', str(bundles['dense'] / 'model.onnx')], 'is there already, in')):
        assert command(*words) == 2
        err = capsys.readouterr().err
        assert reason in err and len(err.splitlines()) == 1
    assert not out.exists()


def test_a_file_that_cannot_be_written_costs_nothing_else(
        command: Callable[..., int], tmp_path: Path, capsys: pytest.CaptureFixture[str],
        monkeypatch: pytest.MonkeyPatch) -> None:
    write = Path.write_text

    def full(self: Path, text: str, **options: Any) -> int:
        if self.name.startswith('out.json'):
            raise OSError(errno.ENOSPC, 'No space left on device')
        return write(self, text, **options)
    monkeypatch.setattr(files.Path, 'write_text', full)
    kept = tmp_path / 'out.json'
    kept.touch()
    assert command('--corruptions', 'low_light', '--severity', '1', '--json', str(kept),
                   '--html', str(tmp_path / 'out.html')) == 1
    out, err = capsys.readouterr()
    assert err.splitlines()[1:] == [
        f'prune-perception potential: {kept}: cannot be written: no space left on device']
    assert 'recommended: bold' in out and f'wrote {tmp_path / "out.html"}' in out
    assert kept.read_text() == ''
    assert [each.name for each in sorted(tmp_path.iterdir())] == ['out.html', 'out.json']


def test_a_bad_frame_is_told(command: Callable[..., int], tmp_path: Path,
                             capsys: pytest.CaptureFixture[str]) -> None:
    walk = write_pictures(tmp_path / 'walk', [scene(each) for each in range(FRAMES)])
    (walk / 'frame007.png').write_bytes(b'no picture')
    assert command('--corruptions', 'low_light', '--severity', '1', data=walk) == 1
    out, err = capsys.readouterr()
    assert '29 frames' in out and 'recommended: bold' in out
    assert len(err.splitlines()) == 2 and 'frame007.png' in err.splitlines()[1]
