# Copyright 2026 the prune_perception authors
# SPDX-License-Identifier: Apache-2.0

"""The forecast of agreement against energy, on a small network: what it is, and what it reads."""

from collections.abc import Iterator, Sequence
from dataclasses import replace
import json
import re
from types import MappingProxyType
from typing import Any

import cv2
import numpy as np
import pytest

torch = pytest.importorskip('torch')
pytest.importorskip('torch_pruning')
pytest.importorskip('pycocotools')

from prunable import networks_in_use, write_footage, write_squares  # noqa: E402
from rich.console import Console  # noqa: E402

from prune_perception.bundle import Bundle, read_bundle, replace_card, write_bundle  # noqa: E402
from prune_perception.detections import Detections  # noqa: E402
from prune_perception.energy.hardware import load_profile  # noqa: E402
from prune_perception.evaluation.intervals import draw, Interval  # noqa: E402
from prune_perception.evaluation.potential import Figure  # noqa: E402
from prune_perception.networks.export import bundle_files  # noqa: E402
from prune_perception.networks.registry import spec_of  # noqa: E402
from prune_perception.pruning import forecaster, pruner  # noqa: E402
from prune_perception.pruning.agreement import (  # noqa: E402
    agreement,
    AgreementError,
    detections_of,
    mirrored,
    Score,
    score,
)
from prune_perception.pruning.forecast import (  # noqa: E402
    errors_of,
    Forecast,
    ForecastError,
    Point,
    predict,
    Request,
    RIDGE,
)
from prune_perception.pruning.forecast_report import (  # noqa: E402
    html_report,
    sentences,
    summary,
)
from prune_perception.pruning.forecaster import forecast, sizes_for  # noqa: E402
from prune_perception.pruning.input_size import try_sizes  # noqa: E402
from prune_perception.pruning.latency import Latency  # noqa: E402
from prune_perception.pruning.plan import Plan, PlanError  # noqa: E402
from prune_perception.pruning.planner import Planner, planner_for  # noqa: E402
from prune_perception.pruning.pruner import prune  # noqa: E402
from prune_perception.pruning.report import agreement_by_stage  # noqa: E402
from prune_perception.pruning.report import summary as prune_summary  # noqa: E402
from prune_perception.pruning.restoration import kept_outputs, restore  # noqa: E402
from prune_perception.pruning.splits import split  # noqa: E402
from prune_perception.pruning.tables import print_outcome  # noqa: E402

FRAMES = 60
SHARES = (0.5, 0.1, 0.05)  # at random little is lost before 0.1


@pytest.fixture(scope='module')
def request_of(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Any]:
    folder = tmp_path_factory.mktemp('forecast')
    with networks_in_use():
        bundle = write_squares(folder / 'dense')
        footage = write_footage(folder / 'walk', FRAMES)

        def make(**changes: Any) -> Request:
            # At random channels go that are missed; by all other methods this network loses none.
            given = {'shares': SHARES, 'method': 'random', 'unrelated': True} | changes
            return Request(bundle, footage, load_profile('eyeriss_65nm'), **given)

        yield make


class Scene:
    """The parts that a forecast is made of."""

    def __init__(self, request: Request) -> None:
        self.planner = planner_for(request.bundle, request.profile, method=request.method)
        footage = forecaster.read_footage(request.data, request.bundle.card.input)
        parts = split(len(footage.images))
        self.fit = footage.images[parts.fit.start:parts.fit.stop]
        self.select = footage.images[parts.select.start:parts.select.stop]
        self.seen = detections_of(self.planner.network, self.planner.card, self.select)
        self.observed = self.planner.observe(self.fit)
        self.swept = self.planner.sweep(self.observed)

    def plan(self, share: float) -> Plan:
        return self.planner.plan(self.swept, share * self.planner.reference)

    def predict(self, plan: Plan, block: int | None = None) -> Score:
        return predict(self.planner, plan, self.observed, self.select, self.seen,
                       draw(len(self.select), block=block))


@pytest.fixture(scope='module')
def scene(request_of: Any) -> Scene:
    return Scene(request_of())


def pruned_bundle(scene: Scene, request: Request, share: float, folder: Any, **changes: Any
                  ) -> Bundle:
    """Return a bundle that was restored, and not trained."""
    plan = scene.plan(share)
    module = scene.planner.remove(plan)
    restore(module, scene.observed, None, kept_outputs(scene.planner.groups, plan.removed))
    dense = request.bundle.card
    assert dense.network is not None
    provenance = replace(dense.provenance, **{
        'parent': request.bundle.digest, 'distilled': False, **changes})
    card = replace(dense, name=folder.name, provenance=provenance, network=spec_of(
        dense.network.name, module, dense.network.settings))
    return write_bundle(folder, card, bundle_files(module, card))


# ---- a prediction

def test_where_nothing_goes_the_forecast_is_one(scene):
    plan = scene.plan(1.0)
    assert not any(plan.removed.values())
    found = scene.predict(plan)
    assert found.value == pytest.approx(1.0, abs=1e-12)


@pytest.mark.parametrize('share', SHARES)
def test_it_is_the_agreement_of_the_network_restored_by_hand(scene, share):
    plan = scene.plan(share)
    made = scene.planner.remove(plan)
    restore(made, scene.observed, None, kept_outputs(scene.planner.groups, plan.removed),
            ridge=RIDGE)
    wanted = agreement(scene.seen, detections_of(made, scene.planner.card, scene.select))
    found = scene.predict(plan)
    assert found.value == pytest.approx(wanted, abs=1e-3)


def test_it_tells_networks_apart(scene):
    values = [scene.predict(scene.plan(share)).value for share in (0.9, 0.1)]
    assert values[0] > values[1] + 0.1


def test_the_interval_is_of_blocks_of_the_frames_kept_aside(scene):
    plan = scene.plan(0.1)
    assert scene.predict(plan, block=len(scene.select)).interval is None
    found = scene.predict(plan, block=1)
    assert found.interval.low < found.value < found.interval.high


# ---- a score

def one(x: float, score: float = 0.9) -> Detections:
    return Detections(np.array([[x, 0.2, x + 0.2, 0.6]], np.float32),
                      np.array([score], np.float32), np.zeros(1, np.int64))


def test_a_score_is_the_agreement_and_its_draws_are_of_the_frames_that_were_drawn():
    dense = [one(0.1)] * 10
    other = [one(0.1 if number < 5 else 0.7) for number in range(10)]
    drawn = draw(10, block=1, draws=200)
    found = score(dense, other, drawn)
    assert found.value == agreement(dense, other)
    # A draw's agreement is that of its frames, written out one after the other.
    for number in range(3):
        frames = np.repeat(np.arange(10), drawn.weights[number].astype(int))
        wanted = agreement([dense[index] for index in frames], [other[index] for index in frames])
        assert found.draws[number] == pytest.approx(wanted, abs=1e-12)


def test_nothing_to_agree_on_is_refused():
    with pytest.raises(AgreementError, match='nothing with a score of 0.35 or more in 2 frames'):
        score([one(0.1, 0.1)] * 2, [one(0.1)] * 2, draw(2))


def test_mirrored_twice_is_what_it_was():
    found, shares = [one(0.1), Detections.none()], np.ones(2, np.float32)
    assert mirrored(found, shares)[0].boxes[0] == pytest.approx([0.7, 0.2, 0.9, 0.6])
    for again, was in zip(mirrored(mirrored(found, shares), shares), found, strict=True):
        assert again.boxes == pytest.approx(was.boxes)


def test_what_lies_in_a_mirrored_part_is_put_back_within_it():
    # 0.1 to 0.3 of the width, of which the left half was mirrored.
    back = mirrored([one(0.1)], np.array([0.5], np.float32))
    assert back[0].boxes[0] == pytest.approx([0.2, 0.2, 0.4, 0.6])


class EnoughSeen(Exception):
    """What a test wants to know is known."""


def test_consistency_is_by_pictures_that_are_mirrored_in_their_place(
        request_of, tmp_path, monkeypatch):
    request = request_of()
    (tmp_path / 'tall').mkdir()
    for path in sorted(request.data.iterdir())[:20]:  # 32 x 32 of 32 x 64: half of the input
        assert cv2.imwrite(str(tmp_path / 'tall' / path.name), cv2.imread(str(path))[:, :32])
    shown = []

    def see(network, card, images):
        shown.append(images)
        return detections_of(network, card, images)

    def put_back(found, shares):
        assert shares.tolist() == [0.5] * len(found)
        raise EnoughSeen

    monkeypatch.setattr(forecaster, 'detections_of', see)
    monkeypatch.setattr(forecaster, 'mirrored', put_back)
    with networks_in_use():
        bundle = write_squares(tmp_path / 'dense')
        bundle = replace_card(bundle, replace(bundle.card, input=replace(
            bundle.card.input, resize='letterbox', placement='top_left')))
        with pytest.raises(EnoughSeen):
            forecast(replace(request, bundle=bundle, data=tmp_path / 'tall'))
    upright, turned = shown
    assert upright[:, :, :32].any()
    np.testing.assert_array_equal(turned[:, :, :32], upright[:, :, :32][:, :, ::-1])
    assert (turned[:, :, 32:] == 114).all()


# ---- the whole

def test_no_frame_kept_aside_is_read_before_it_is_scored(request_of, monkeypatch):
    given: list[Any] = []
    observe = Planner.observe

    def remember(self: Planner, images: Any, *others: Any, **named: Any) -> Any:
        given.append(images)
        return observe(self, images, *others, **named)

    monkeypatch.setattr(Planner, 'observe', remember)
    found = forecast(request_of())
    fit = found.footage.images[:found.splits.fit.stop]
    assert given and all(np.array_equal(images, fit) for images in given)
    assert found.splits.fit.stop <= found.splits.select.start


def test_the_check_stands_beside_the_forecast_and_the_errors_are_between_them(request_of):
    found = forecast(request_of(check=True))
    assert [point.share <= share for point, share in zip(found.points, SHARES, strict=True)]
    off = [point.predicted.value - point.restored.value for point in found.points]
    errors = found.errors()
    assert errors.number == len(SHARES)
    assert errors.mean_absolute == pytest.approx(np.abs(off).mean())
    assert errors.mean_absolute < 0.1


def test_it_is_the_same_twice_and_of_another_seed_another(request_of):
    values = [[point.predicted.value for point in forecast(request_of(seed=seed)).points]
              for seed in (0, 0, 1)]
    assert values[0] == values[1] != values[2]


def test_a_share_that_cannot_be_met_is_noted_and_only_such_shares_are_refused(request_of):
    found = forecast(request_of(shares=(0.5, 0.001)))
    assert len(found.points) == 1
    assert any(note.startswith('0% of the dense energy cannot be met') for note in found.notes)
    with pytest.raises(ForecastError, match='none of the shares 0.001 of the dense energy'):
        forecast(request_of(shares=(0.001,)))
    with pytest.raises(ForecastError, match='a share of 1.5 cannot be'):
        forecast(request_of(shares=(1.5,)))


def test_the_forecast_is_of_widths_of_the_alignment(request_of):
    fine, coarse = (
        forecast(request_of(shares=(0.6,), method='magnitude', alignment=alignment)).points[0]
        for alignment in (8, 32))
    assert all(width % 32 == 0 for _, width in coarse.plan.widths.values())
    assert fine.plan.widths != coarse.plan.widths


@pytest.mark.parametrize('method', ['combined', 'loss', 'provable'])
def test_what_is_proved_is_said_for_the_provable_method_alone(request_of, method):
    found = forecast(request_of(method=method, shares=(0.5,)))
    assert (found.points[0].bound is not None) == (method == 'provable')
    assert any('can be proved' in line for line in sentences(found)) == (method == 'provable')


def test_prune_prints_what_it_forecast_beside_what_came_of_it(request_of, monkeypatch):
    monkeypatch.setattr(pruner, 'compare', lambda *_, **__: Latency(
        0.01, 0.005, 2.0, 'onnxruntime', 'a machine'))
    given = request_of()
    found = prune(pruner.Request(
        given.bundle, given.data, given.profile, energy_budget=0.1, distil=False,
        method=given.method, unrelated=True))
    assert found.card.provenance.distilled is False
    alone = forecast(request_of(shares=(0.1,))).points[0].predicted
    assert (found.forecast.value, found.forecast.interval) == (alone.value, alone.interval)
    assert abs(found.forecast.value - found.agreement['restoration']) < 0.1
    rows = agreement_by_stage(found)
    assert [value for _, value in rows] == [found.forecast.value, *found.agreement.values()]
    assert rows[0][0].startswith('restoration, as forecast (')
    assert prune_summary(found)['forecast']['value'] == found.forecast.value
    console = Console(width=140, record=True)
    print_outcome(found, console)
    assert re.search(rf'restoration, as forecast .* {found.forecast.value:.4f}',
                     console.export_text())


def test_a_restored_bundle_counts_to_the_errors_and_a_distilled_one_does_not(
        scene, request_of, tmp_path):
    request = request_of(shares=(0.9,))
    restored = pruned_bundle(scene, request, 0.5, tmp_path / 'restored')
    distilled = pruned_bundle(scene, request, 0.2, tmp_path / 'distilled', distilled=True)
    unsaid = replace_card(
        pruned_bundle(scene, request, 0.3, tmp_path / 'unsaid'),
        replace(restored.card, name='unsaid', network=read_bundle(
            tmp_path / 'unsaid').card.network, provenance=replace(
                restored.card.provenance, distilled=None)))
    found = forecast(replace(request, pruned=(distilled, restored, unsaid)))
    assert [one.bundle.card.name for one in found.pruned] == ['restored', 'unsaid', 'distilled']
    assert found.errors().number == 1
    by_name = {one.bundle.card.name: one for one in found.pruned}
    assert by_name['restored'].share == pytest.approx(scene.plan(0.5).share, rel=1e-6)
    assert abs(by_name['restored'].predicted.value - by_name['restored'].score.value) < 0.1
    assert len(found.points) == 1  # the curve is of the shares that were asked for
    said = ' '.join(sentences(found))
    assert 'distillation: distilled agrees by' in said
    assert any('unsaid does not say whether it was distilled' in note for note in found.notes)
    kinds = {one['name']: one['distilled'] for one in summary(found)['pruned']}
    assert kinds == {'restored': False, 'distilled': True, 'unsaid': None}
    page = html_report(found)
    assert '>distilled<' in page and '>restored<' in page


def test_a_bundle_of_another_parent_or_other_classes_is_refused(scene, request_of, tmp_path):
    request = request_of()
    stranger = pruned_bundle(scene, request, 0.5, tmp_path / 'stranger', parent='00' * 32)
    with pytest.raises(ForecastError, match='stranger: was not pruned from'):
        forecast(replace(request, pruned=(stranger,)))
    both = pruned_bundle(scene, request, 0.5, tmp_path / 'both')
    with pytest.raises(ForecastError, match='both: has the classes person, dog, the forecast is '
                                            'for dog; give --classes person,dog'):
        forecast(replace(request, classes=('dog',), pruned=(both,)))


# ---- the rules

def score_at(value: float, spread: float = 0.0) -> Score:
    return Score(value, value + spread * np.linspace(-1, 1, 101))


def forecast_of(request: Request, values: Sequence[float], spread: float = 0.0) -> Forecast:
    """Return a forecast at the shares 0.9, 0.8, … of a dense network that agrees by 0.95."""
    points = tuple(
        Point(Plan({}, {}, 0.0, 0.9 - number / 10), (32, 64), score_at(value, spread))
        for number, value in enumerate(values))
    footage = forecaster.read_footage(request.data, request.bundle.card.input)
    return Forecast(
        replace(request, largest_loss=0.05), ('person',), (32, 64), score_at(0.95), points, (),
        footage, split(FRAMES), 50, 1, '', (), MappingProxyType({}))


def test_the_furthest_point_is_before_the_first_that_loses_too_much(request_of):
    request = request_of()
    assert forecast_of(request, [0.96, 0.91, 0.89, 0.93]).furthest().share == pytest.approx(0.8)
    assert forecast_of(request, [0.89, 0.93]).furthest() is None
    found = forecast_of(request, [0.96, 0.905], 0.02)
    assert found.furthest().share == pytest.approx(0.8)
    assert found.furthest(surely=True).share == pytest.approx(0.9)
    assert found.loss(found.points[1].predicted).value == pytest.approx(0.045)
    assert 'also at the upper end' in ' '.join(sentences(found))
    assert 'of no saving is that sure' in ' '.join(sentences(forecast_of(request, [0.91], 0.1)))
    assert summary(found)['largest_saving'] == pytest.approx(0.2)
    assert summary(found)['largest_sure_saving'] == pytest.approx(0.1)
    assert summary(forecast_of(request, [0.5]))['largest_saving'] == 0


def test_without_intervals_no_saving_is_sure(request_of):
    request = request_of()
    found = forecast_of(request, [0.96])
    bare = replace(found, points=(replace(found.points[0], predicted=Score(0.96, np.zeros(0))),))
    assert bare.furthest().share == pytest.approx(0.9)
    assert bare.furthest(surely=True) is None


def test_errors_by_hand():
    pairs = [(Figure(value, Interval(value - 0.02, value + 0.02)), real)
             for value, real in ((0.9, 0.91), (0.7, 0.8), (0.75, 0.74))]
    errors = errors_of(pairs)
    assert errors.mean_absolute == pytest.approx(0.04)
    assert errors.bias == pytest.approx(-0.1 / 3)
    assert errors.largest == pytest.approx(0.1)
    assert errors.within == 2
    assert errors.swapped == (pytest.approx(0.06),)
    assert errors_of([]) is None
    assert errors_of([*pairs, (Figure(0.5, None), 0.5)]).within is None


def test_the_size_of_each_share_is_the_one_that_would_be_chosen_for_it_alone(
        tmp_path_factory, request_of):
    folder = tmp_path_factory.mktemp('sizes')
    bundle = write_squares(folder / 'large')
    scene_input = replace(bundle.card.input, height=64, width=128)
    planner = planner_for(bundle, load_profile('eyeriss_65nm')).at((64, 128))
    assert planner.card.input == scene_input
    images = forecaster.read_footage(request_of().data, scene_input).images
    fit, select = images[:12], images[35:41]
    shares = (4.0, 0.5, 0.02)  # of the energy at half this size
    wanted = {}
    for share in shares:
        budget = share * planner.reference
        sizes = try_sizes(planner, fit, select, lambda at, swept, budget=budget: at.plan(
            swept, budget), until=budget)
        try:
            wanted[share] = sizes.best()
        except PlanError:
            continue
    assert sizes_for(planner, fit, select, shares) == wanted
    assert len(wanted) >= 2


def test_the_figures_are_plain_json(request_of):
    found = forecast(request_of(check=True, shares=(0.5, 0.2)))
    plain = json.loads(json.dumps(summary(found), allow_nan=False))
    assert plain['figure'] == 'agreement_ap50'
    assert [point['energy_share'] for point in plain['points']] == [
        point.share for point in found.points]
    point = plain['points'][0]
    assert point['loss'] == pytest.approx(
        plain['consistency']['value'] - point['predicted']['value'])
    assert point['restored']['value'] == found.points[0].restored.value
    assert plain['errors']['networks'] == 2
