# Copyright 2026 the prune_perception authors
# SPDX-License-Identifier: Apache-2.0

"""The heads of all dense decoders: what they compare, turn, average and leave out."""

from dataclasses import replace
import math

from anchor_forms import ANCHORS, FORMS, forms, STRIDES
from bundles import small_card
import numpy as np
import pytest

torch = pytest.importorskip('torch')

from torch import nn  # noqa: E402

from prune_perception.bundle import DecoderSpec, NetworkSpec, OutputSpec  # noqa: E402
from prune_perception.pruning.agreement import detections_of  # noqa: E402
from prune_perception.pruning.heads import BOX_WEIGHT, head_of, HeadError  # noqa: E402
from prune_perception.pruning.heads.dense import _read, LEAST_SCORE, TOLERANCE  # noqa: E402
from prune_perception.runtime.decoders import decoder_of  # noqa: E402

WIDTH = 64
# Four classes with the background, and four numbers of a box: shapes do not tell them apart.
ORDER = {'order': ['boxes', 'classes']}
SSD = {'strides': STRIDES, 'anchors': [[[16, 8]], [[20, 40]]], **ORDER}
FCOS = {'strides': STRIDES}
DECODED = {'boxes': 'cxcywh', 'strides': STRIDES}
CENTER = {'stride': 8, 'order': ['classes', 'sizes', 'offsets']}

# Name: decoder, settings, and the sizes of its fields for three classes.
KINDS = {
    'yolo_dfl': ('yolo_dfl', {'strides': STRIDES, 'bins': 3}, {'boxes': 12, 'classes': 3}),
    'yolo, distances': ('yolo_dfl', {'strides': STRIDES, 'bins': 1, 'scores': 'probabilities'},
                        {'boxes': 4, 'classes': 3}),
    'yolox': ('yolox', {'strides': STRIDES}, {'boxes': 4, 'objectness': 1, 'classes': 3}),
    'yolox, probabilities': ('yolox', {'strides': STRIDES, 'scores': 'probabilities'},
                             {'boxes': 4, 'objectness': 1, 'classes': 3}),
    'ssd': ('ssd', SSD, {'boxes': 4, 'classes': 4}),
    'retinanet': ('ssd', {**SSD, 'scores': 'logits', 'deltas': 'yxhw'},
                  {'boxes': 4, 'classes': 3}),
    'fcos': ('fcos', FCOS, {'classes': 3, 'boxes': 4, 'centerness': 1}),
    'fcos, product': ('fcos', {**FCOS, 'centerness': 'product', 'activation': 'exp'},
                      {'classes': 3, 'boxes': 4, 'centerness': 1}),
    'fcos, plain': ('fcos', {**FCOS, 'centerness': 'none', 'distances': 'pixels'},
                    {'classes': 3, 'boxes': 4}),
    'decoded': ('decoded', DECODED, {'boxes': 4, 'classes': 3}),
    'decoded, objectness': ('decoded', {**DECODED, 'objectness': True, 'scores': 'logits'},
                            {'boxes': 4, 'objectness': 1, 'classes': 3}),
    'decoded, corners': ('decoded', {**DECODED, 'boxes': 'yxyx', 'units': 'normalised'},
                         {'boxes': 4, 'classes': 3}),
    'detr': ('decoded', {**DECODED, **ORDER, 'boxes': 'xywh', 'scores': 'softmax',
                         'background': 'last'}, {'boxes': 4, 'classes': 4}),
}
CENTERNETS = {
    'centernet': ('centernet', CENTER, 3),
    'centernet, yx': ('centernet', {**CENTER, 'axes': 'yx', 'scores': 'probabilities'}, 3),
}
EVERY = (*KINDS, *CENTERNETS)


def card_of(name, settings, outputs, classes=3):
    return replace(
        small_card(), class_names=('person', 'dog', 'cat')[:classes], network=None,
        outputs=tuple(OutputSpec(f'output {number}', tuple(output.shape))
                      for number, output in enumerate(outputs)),
        decoder=DecoderSpec(name, settings))


def anchors_of(kind, seed):
    """Return fields of random anchors that make sense: scores of their kind, boxes with area."""
    rng = np.random.default_rng(seed)
    name, settings, sizes = KINDS[kind]
    values = {}
    for field, size in sizes.items():
        drawn = rng.normal(0, 1.5, (ANCHORS, size))
        if field != 'boxes':
            probabilities = settings.get(
                'scores', 'probabilities' if name == 'decoded' else '') == 'probabilities'
            drawn = 1 / (1 + np.exp(-drawn)) if probabilities else drawn
        elif name == 'decoded':
            x, y = rng.uniform(0, 40, ANCHORS), rng.uniform(0, 20, ANCHORS)
            w, h = rng.uniform(4, 20, ANCHORS), rng.uniform(4, 20, ANCHORS)
            drawn = np.stack([y / 32, x / 64, (y + h) / 32, (x + w) / 64]
                             if settings['boxes'] == 'yxyx' else [x, y, w, h], 1)
        elif size == 4 and settings.get('activation') != 'exp' and name != 'ssd':
            drawn = rng.uniform(0.5, 2, (ANCHORS, 4))
        elif size == 4:
            drawn /= 3
        values[field] = drawn.astype(np.float32)
    return values


def case(kind, seed=0, form='rows'):
    """Return a card, and outputs of one image as tensors."""
    if kind in CENTERNETS:
        name, settings, classes = CENTERNETS[kind]
        rng = np.random.default_rng(seed)
        heat = rng.normal(0, 1.5, (1, classes, 4, 8))
        heat = 1 / (1 + np.exp(-heat)) if 'scores' in settings else heat
        outputs = [heat, rng.uniform(0.5, 3, (1, 2, 4, 8)), rng.uniform(0, 1, (1, 2, 4, 8))]
    else:
        name, settings, _ = KINDS[kind]
        outputs = forms(anchors_of(kind, seed))[form]
    outputs = [torch.from_numpy(np.array(output, np.float32)) for output in outputs]
    return card_of(name, settings, outputs), outputs


def decoded(card, outputs, threshold=0.01):
    """Return what a decoder makes of outputs, in an order that only values tell."""
    boxes, scores, classes = decoder_of(card)([output.numpy() for output in outputs], threshold)
    table = np.concatenate([classes[:, None], scores[:, None], boxes], 1)
    return table[np.lexsort(np.round(table, 3).T)]


@pytest.mark.parametrize('kind', EVERY)
def test_what_is_compared_is_what_the_decoder_finds(kind):
    card, outputs = case(kind)
    head, rows = head_of(card), []
    for block, anchors in zip(head._blocks, head._anchors, strict=True):
        fields = _read(block, outputs)
        scores = head._probabilities(head._score_logits(fields))[0]
        edges = head._edges(fields, anchors)[0]
        rows += [[number, score.item(), *edges[anchor].tolist()]
                 for anchor, given in enumerate(scores) for number, score in enumerate(given)]
    found = decoded(card, outputs)
    assert len(found) > 5
    for row in found:  # of CenterNet's cells, the peaks
        assert np.isclose(rows, row, rtol=1e-4, atol=1e-3).all(1).any()


@pytest.mark.parametrize('kind', EVERY)
def test_the_loss_is_least_at_the_teacher(kind):
    card, teacher = case(kind)
    head = head_of(card)
    student = [output.clone().requires_grad_() for output in teacher]
    loss = head.loss(student, teacher)
    loss.total.backward()
    assert loss.total.item() == pytest.approx(0, abs=1e-5)
    assert sum(loss.parts.values()) == pytest.approx(loss.total.item(), abs=1e-6)
    for output in student:
        assert output.grad.abs().max() < 1e-5
    _, other = case(kind, seed=1)
    assert head.loss(other, teacher).parts['classes'] > 0.01
    assert head.loss(other, teacher).parts['boxes'] > 0.01
    halved = head.loss(other, [output.half() for output in teacher])
    assert halved.total.item() == pytest.approx(head.loss(other, teacher).total.item(), rel=2e-2)


@pytest.mark.parametrize('kind', EVERY)
def test_the_gradient_leads_to_the_teacher(kind):
    card, teacher = case(kind)
    head = head_of(card)
    shares, losses = (0.8, 0.4, 0.2, 0.1), []
    for share in shares:  # of the way to another
        student = [(output + share * (other - output)).requires_grad_()
                   for output, other in zip(teacher, case(kind, seed=1)[1], strict=True)]
        loss = head.loss(student, teacher)
        loss.total.backward()
        assert sum((one.grad * (one - other)).sum()
                   for one, other in zip(student, teacher, strict=True)) > 0
        losses.append(loss.parts)
    for part in ('classes', 'boxes'):
        falling = [parts[part] for parts in losses]
        assert falling == sorted(falling, reverse=True) and falling[-1] < 0.3 * falling[0]


def test_a_missed_object_is_raised_and_a_false_one_is_lowered():
    card, outputs = case('yolo_dfl')
    teacher = outputs[0]
    teacher[..., 12:] = -4
    student = teacher.clone()
    teacher[0, 2, 13] = student[0, 5, 14] = 3
    student.requires_grad_()
    head_of(card).loss([student], [teacher]).total.backward()
    scores = student.grad[0, :, 12:]
    assert scores[2, 1] < -0.1 and scores[5, 2] > 0.1
    assert (scores.abs() > 0.1).sum() == 2


def in_a_batch(*images):
    """Return the outputs of several images in one batch."""
    return [torch.cat([image[number] for image in images]) for number in range(len(images[0]))]


@pytest.mark.parametrize('kind', EVERY)
def test_images_of_a_batch_are_compared_one_with_one(kind):
    card, first = case(kind)
    head, second, third = head_of(card), case(kind, seed=1)[1], case(kind, seed=2)[1]
    assert head.loss(in_a_batch(first, second), in_a_batch(first, second)
                     ).total.item() == pytest.approx(0, abs=1e-5)
    both = head.loss(in_a_batch(first, second), in_a_batch(third, third))
    apart = [head.loss(one, third).total.item() for one in (first, second)]
    assert both.total.item() == pytest.approx(sum(apart) / 2, rel=1e-4)


@pytest.mark.parametrize('form', FORMS)
@pytest.mark.parametrize('kind', KINDS)
def test_a_form_changes_nothing(kind, form):
    card, teacher = case(kind, form=form)
    _, student = case(kind, seed=1, form=form)
    plain, plain_teacher = case(kind)
    expected = head_of(plain).loss(case(kind, seed=1)[1], plain_teacher)
    found = head_of(card).loss(student, teacher)
    assert found.parts == pytest.approx(expected.parts, rel=1e-4)


@pytest.mark.parametrize('form', ['rows', 'columns', 'maps', 'maps by level, channels last'])
@pytest.mark.parametrize('kind', EVERY)
def test_what_is_said_of_a_mirrored_image_is_turned_back(kind, form):
    card, outputs = case(kind, form=form)
    head = head_of(card)
    assert head.mirrors
    turned = head.mirrored(outputs)
    for again, output in zip(head.mirrored(turned), outputs, strict=True):
        torch.testing.assert_close(again, output)
    before, after = decoded(card, outputs), decoded(card, turned)
    assert len(before) > 5
    before[:, [2, 4]] = WIDTH - before[:, [4, 2]]
    np.testing.assert_allclose(
        after, before[np.lexsort(np.round(before, 3).T)], rtol=1e-4, atol=2e-3)
    halved = head.mirrored([output.half() for output in outputs])
    assert {output.dtype for output in halved} == {torch.float16}


@pytest.mark.parametrize('kind', EVERY)
def test_the_mean_of_one_opinion_is_that_opinion(kind):
    card, outputs = case(kind)
    head = head_of(card)
    np.testing.assert_allclose(
        decoded(card, head.averaged(outputs, outputs)), decoded(card, outputs), rtol=1e-3,
        atol=1e-3)


def test_opinions_are_averaged_as_probabilities_and_boxes_by_confidence():
    """One is sure of an object at an anchor, the other of none there and of another box."""
    card, outputs = case('yolox')
    once, again = (torch.zeros_like(outputs[0]) for _ in range(2))
    once[..., 4], again[..., 4] = 20, -20
    once[..., 5:], again[..., 5:] = math.log(4), -math.log(4)  # 0.8 and 0.2
    once[..., :4], again[..., :4] = 0.25, 7.0
    average, = head_of(card).averaged([once], [again])
    torch.testing.assert_close(average[..., 4].sigmoid(), torch.full((1, ANCHORS), 0.5))
    torch.testing.assert_close(average[..., 5:].sigmoid(), torch.full((1, ANCHORS, 3), 0.5))
    torch.testing.assert_close(average[..., :4], torch.full((1, ANCHORS, 4), 0.25),
                               atol=1e-3, rtol=0)


def test_distributions_are_averaged_by_confidence_as_well():
    card, outputs = case('yolo_dfl')
    once, again = (torch.zeros_like(outputs[0]) for _ in range(2))
    once[..., 12:], again[..., 12:] = math.log(3), -math.log(3)  # 3/4 and 1/4
    once[..., 0] = math.log(8)  # the left side: 8/10 and twice 1/10, against 1/3 each
    average, = head_of(card).averaged([once], [again])
    left = average[0, 0, :3].softmax(0)
    assert left.tolist() == pytest.approx(
        [0.75 * 0.8 + 0.25 / 3, *[0.75 * 0.1 + 0.25 / 3] * 2], rel=1e-4)


@pytest.mark.parametrize('kind', EVERY)
def test_the_noise_has_the_curvature_of_the_loss(kind):
    """Each image of a batch is a draw of its own, so that one pass draws many."""
    draws = 20_000
    card, outputs = case(kind)
    head = head_of(card)
    torch.manual_seed(0)
    many = [output.repeat(draws, *[1] * (output.ndim - 1)).requires_grad_()
            for output in outputs]
    head.curvature_noise(many, torch.Generator().manual_seed(7)).backward()
    drawn = torch.cat([output.grad.flatten(1) for output in many], 1)
    found = drawn.T @ drawn / draws

    sizes = [output.numel() for output in outputs]

    def loss(flat):
        parts = [part.view_as(output)
                 for part, output in zip(flat.split(sizes), outputs, strict=True)]
        return head.loss(parts, outputs).total

    flat = torch.cat([output.flatten() for output in outputs])
    exact = torch.autograd.functional.hessian(loss, flat)
    # Up to one factor, the sum of confidences that the loss is divided by.
    factor = found.diagonal().sum() / exact.diagonal().sum()
    assert factor > 1
    scale = (exact.diagonal() * factor).clamp_min(1e-4).sqrt()
    correlation = (found - exact * factor) / (scale[:, None] * scale[None])
    # Draws of a distribution are rare where they are large: single entries spread.
    assert correlation.square().mean().sqrt() < 0.02 and correlation.abs().max() < 0.25
    assert (drawn.mean(0) / scale).abs().max() < 0.05


@pytest.mark.parametrize('kind', EVERY)
def test_the_noise_is_that_of_the_generator(kind):
    card, outputs = case(kind)
    first, again, other = (
        head_of(card).curvature_noise(outputs, torch.Generator().manual_seed(seed)).item()
        for seed in (1, 1, 2))
    assert first == again != other


# ---- losses by hand


def test_the_loss_of_scores_and_boxes_by_hand():
    """One anchor of 16 x 8 pixels, which the student sees half as surely and 0.8 pixels off."""
    settings = {'anchor_boxes': [[0, 0, 16, 8]], 'scores': 'logits', 'variances': [1, 1, 1, 1]}
    boxes, logits = torch.zeros(1, 1, 4), torch.zeros(1, 1, 1)
    head = head_of(card_of('ssd', settings, [boxes, logits], 1))
    moved = boxes.clone()
    moved[..., 0] = 0.05  # of the width of 16: both edges by 0.8 pixels
    loss = head.loss([moved, logits - math.log(3)], [boxes, logits])  # 1/4 instead of 1/2
    cross_entropy = -0.5 * math.log(0.25) - 0.5 * math.log(0.75) - math.log(2)
    # The weight is by the greater confidence; the sum of confidences, 1/2, counts as 1.
    edges = 2 * 0.5 * (0.8 / (TOLERANCE * 16)) ** 2
    assert loss.parts == pytest.approx({
        'classes': 4 * (0.5 + 0.05) * cross_entropy, 'boxes': BOX_WEIGHT * 0.5 * edges}, rel=1e-5)


def test_the_loss_of_softmax_by_hand():
    settings = {'anchor_boxes': [[0, 0, 16, 8]], 'columns': [1], 'column_count': 3}
    teacher = torch.tensor([[[0, math.log(2), 0]]])  # 1/4, 1/2 and 1/4
    student = torch.tensor([[[0, 0, math.log(2)]]])  # 1/4 of the card's class
    boxes = torch.zeros(1, 1, 4)
    head = head_of(card_of('ssd', settings, [boxes, teacher], 1))
    # The third column is none of the card's: with the background it has 1/2 and 3/4.
    divergence = 0.5 * math.log(0.5 / 0.25) + 0.5 * math.log(0.5 / 0.75)
    loss = head.loss([boxes, student], [boxes, teacher])
    assert loss.parts == pytest.approx(
        {'classes': 4 * (0.5 + 0.05) * divergence, 'boxes': 0}, rel=1e-5)


def test_a_score_is_a_product_to_the_loss():
    """Objectness up and class down by as much is no difference."""
    card, outputs = case('yolox, probabilities')
    teacher = outputs[0]
    teacher[..., 4], teacher[..., 5:] = 0.5, 0.8
    student = teacher.clone()
    student[..., 4], student[..., 5:] = 0.8, 0.5
    assert head_of(card).loss([student], [teacher]).total.item() == pytest.approx(0, abs=1e-5)


@pytest.mark.parametrize('kind', ['yolo_dfl', 'yolox', 'ssd', 'fcos', 'decoded'])
def test_a_box_counts_by_the_confidence_at_its_place(kind):
    card, outputs = case(kind)
    teacher = outputs[0]
    sizes, order = KINDS[kind][2], list(KINDS[kind][2])
    starts = dict(zip(order, np.cumsum([0, *sizes.values()]).tolist(), strict=False))
    probabilities = kind == 'decoded'
    for field in set(order) - {'boxes'}:
        teacher[..., starts[field]:starts[field] + sizes[field]] = 0.001 if probabilities else -9
    teacher[:, 3, starts['classes'] + sizes['classes'] - 1] = 0.999 if probabilities else 9
    for field in set(order) - {'boxes', 'classes'}:
        teacher[:, 3, starts[field]] = 9
    if kind == 'ssd':
        teacher[:, :, starts['classes']] = 9  # background
        teacher[:, 3, starts['classes']] = -9
    losses = []
    for anchor in (3, 4):
        student = teacher.clone()
        student[:, anchor, starts['boxes']] += 0.3
        losses.append(head_of(card).loss([student], [teacher]).parts['boxes'])
    assert losses[0] > 100 * losses[1]


@pytest.mark.parametrize('kind', ['yolo_dfl', 'fcos, plain'])
def test_boxes_count_in_proportion_to_their_scores(kind):
    card, outputs = case(kind)
    teacher, sizes = outputs[0], KINDS[kind][2]
    starts = dict(zip(sizes, np.cumsum([0, *sizes.values()]).tolist(), strict=False))
    boxes = slice(starts['boxes'], starts['boxes'] + sizes['boxes'])
    teacher[..., boxes] = 8  # the same everywhere, so that the loss of each would be the same
    teacher[..., starts['classes']:starts['classes'] + sizes['classes']] = -9
    scores = {3: 0.8, 4: 0.1}
    losses = {}
    for anchor, score in scores.items():
        teacher[:, anchor, starts['classes']] = math.log(score / (1 - score))
    for anchor in scores:
        student = teacher.clone()
        student[:, anchor, boxes] += torch.arange(sizes['boxes'])
        losses[anchor] = head_of(card).loss([student], [teacher]).parts['boxes']
    assert losses[3] / losses[4] == pytest.approx(scores[3] / scores[4], rel=1e-4)


@pytest.mark.parametrize(('score', 'counts'), [
    (0.9 * LEAST_SCORE, False), (1.1 * LEAST_SCORE, True)])
@pytest.mark.parametrize('kind', ['yolo_dfl', 'fcos, plain', 'decoded'])
def test_boxes_that_nobody_looks_at_do_not_count(kind, score, counts):
    card, outputs = case(kind)
    teacher, sizes = outputs[0], KINDS[kind][2]
    starts = dict(zip(sizes, np.cumsum([0, *sizes.values()]).tolist(), strict=False))
    classes = slice(starts['classes'], starts['classes'] + sizes['classes'])
    boxes = slice(starts['boxes'], starts['boxes'] + sizes['boxes'])
    teacher[..., classes] = score if kind == 'decoded' else math.log(score / (1 - score))
    student = teacher.clone()
    student[:, 4, boxes] += torch.arange(sizes['boxes'])
    head = head_of(card)
    loss = head.loss([student], [teacher])
    assert (loss.parts['boxes'] > 0) == counts
    student.requires_grad_()
    noise = head.curvature_noise([student], torch.Generator().manual_seed(0))
    assert bool(torch.autograd.grad(noise, student)[0][..., boxes].any()) == counts


@pytest.mark.parametrize(('score', 'counts'), [
    (0.9 * LEAST_SCORE, False), (1.1 * LEAST_SCORE, True)])
def test_sizes_that_nobody_looks_at_do_not_count(score, counts):
    card, (heat, sizes, offsets) = case('centernet')
    heat[:] = -9
    heat[0, 0, 1, 2] = math.log(score / (1 - score))
    student = sizes.clone()
    student[0, :, 1, 2] += 1
    loss = head_of(card).loss([heat, student, offsets], [heat, sizes, offsets])
    assert (loss.parts['boxes'] > 0) == counts


def test_a_size_counts_at_peaks_alone():
    card, (heat, sizes, offsets) = case('centernet')
    heat[:] = -9
    heat[0, 0, 1, 2], heat[0, 0, 1, 3] = 3, 2
    losses = []
    for column in (2, 3):
        student = sizes.clone()
        student[0, :, 1, column] += 1
        losses.append(head_of(card).loss(
            [heat, student, offsets], [heat, sizes, offsets]).parts['boxes'])
    assert losses[0] > 0.01
    assert losses[1] < 1e-3 * losses[0]


# ---- what cannot be mirrored or distilled


@pytest.mark.parametrize(('kind', 'changes'), [
    ('ssd', {'offset': 0}), ('fcos', {'offset': 0}), ('decoded', {'strides': None})])
def test_anchors_that_do_not_mirror_onto_each_other(kind, changes):
    card, outputs = case(kind)
    settings = {name: value for name, value in (card.decoder.settings | changes).items()
                if value is not None}
    head = head_of(replace(card, decoder=DecoderSpec(card.decoder.name, settings)))
    assert not head.mirrors and not head.undistillable
    assert head.loss(outputs, outputs).total.item() == pytest.approx(0, abs=1e-5)
    with pytest.raises(HeadError, match='do not lie on each other in a mirrored image'):
        head.mirrored(outputs)


@pytest.mark.parametrize('kind', ['yolo_dfl', 'yolox', 'decoded'])
def test_an_input_of_broken_cells_is_not_mirrored(kind):
    card, _ = case(kind)
    assert not head_of(replace(card, input=replace(card.input, width=50))).mirrors


def test_outputs_without_a_batch_can_be_pruned_and_not_distilled():
    card, outputs = case('decoded', form='rows apart')
    single = [output[0] for output in outputs]
    head = head_of(replace(card, outputs=tuple(
        OutputSpec(spec.name, tuple(output.shape))
        for spec, output in zip(card.outputs, single, strict=True))))
    assert 'no dimension for a batch' in head.undistillable
    assert math.isfinite(head.curvature_noise(single, torch.Generator()).item())


def test_a_card_that_does_not_fit_is_told():
    card, _ = case('yolox')
    with pytest.raises(HeadError, match='bundle small: decoder.settings do not fit'):
        head_of(replace(card, outputs=(OutputSpec('rows', (1, 9, 8)),)))


# ---- a list


def listed(joined):
    boxes = torch.tensor([[[4.0, 4, 20, 12], [0, 0, 8, 8]]])
    scores, labels = torch.tensor([[0.5, 0.9]]), torch.tensor([[0.0, 1.0]])
    outputs = [torch.cat([boxes, scores[..., None], labels[..., None]], 2)] if joined \
        else [boxes, scores, labels]
    return card_of('listed', {'boxes': 'xyxy', 'first_label': 1}, outputs), outputs


@pytest.mark.parametrize('joined', [True, False])
def test_a_list_says_what_it_depends_on_and_is_not_distilled(joined):
    card, outputs = listed(joined)
    head = head_of(card)
    assert 'entries are other objects in each image' in head.undistillable
    for attempt in (lambda: head.loss(outputs, outputs), lambda: head.mirrored(outputs),
                    lambda: head.averaged(outputs, outputs)):
        with pytest.raises(HeadError, match='entries are other objects'):
            attempt()
    given = [output.clone().requires_grad_() for output in outputs]
    head.curvature_noise(given, torch.Generator().manual_seed(1)).backward()
    scores = given[0].grad[..., 4] if joined else given[1].grad
    boxes = given[0].grad[..., :4] if joined else given[0].grad
    assert (scores != 0).all() and (boxes != 0).all()
    # The wider a box, the less it matters where its left edge is: by 16 and 8 pixels.
    draws = torch.stack([_drawn(head, outputs, seed) for seed in range(400)])
    ratio = draws[:, 0, 1, 0].std() / draws[:, 0, 0, 0].std()
    assert ratio.item() == pytest.approx(16 / 8 * math.sqrt(0.9 / 0.5), rel=0.2)


def _drawn(head, outputs, seed):
    given = [output.clone().requires_grad_() for output in outputs]
    head.curvature_noise(given, torch.Generator().manual_seed(seed)).backward()
    return given[0].grad


def test_classes_of_a_list_are_chosen_by_their_labels():
    card, outputs = listed(True)
    module = nn.Identity()
    kept, smaller = head_of(card).keep_classes(module, card, ['cat', 'person'])
    assert kept is module
    assert (smaller.class_names, smaller.decoder.settings) == (
        ('person', 'cat'), {'boxes': 'xyxy', 'labels': [1, 3]})
    again = head_of(smaller).keep_classes(module, smaller, ['cat'])[1]
    assert again.decoder.settings['labels'] == [3]
    decoder_of(again)


# ---- leaving out classes


class Predicting(nn.Module):
    """A convolution a field on two levels, put together in some form."""

    def __init__(self, sizes, form, counts=None):
        super().__init__()
        self.stem = nn.Conv2d(3, 6, 3, stride=16, padding=1)
        self.down = nn.AvgPool2d(2, ceil_mode=True)
        self.fields = nn.ModuleDict(
            {name: nn.Conv2d(6, size, 1) for name, size in sizes.items()})
        self._form, self._counts = form, counts

    def forward(self, x):
        fine = torch.relu(self.stem(x))
        levels = [[field(level) for field in self.fields.values()]
                  for level in (fine, self.down(fine))]
        return self.put(levels)

    def put(self, levels):
        if self._form == 'maps':
            return tuple(torch.cat(level, 1) for level in levels)
        rows = [torch.cat([part.flatten(2).transpose(1, 2) for part in level], 2)
                for level in levels]
        rows = torch.cat(rows, 1)
        if self._form == 'counted':
            rows = rows.view(len(rows), -1, self._counts)
        if self._form == 'entangled':  # a box is a little larger where there are classes
            rows = torch.cat([rows[..., :4] + 0.1 * rows[..., 5:].mean(-1, keepdim=True),
                              rows[..., 4:]], 2)
        if self._form == 'apart':
            return tuple(rows.split([size.out_channels for size in self.fields.values()], 2))
        if self._form == 'sigmoid':
            boxes = rows[..., :4]
            return (torch.cat([boxes, rows[..., 4:].sigmoid()], 2),)
        return (rows,)


def predicting(kind, form):
    name, settings, sizes = KINDS[kind]
    torch.manual_seed(3)
    module = Predicting(sizes, form, sum(sizes.values())).eval()
    for layer in module.modules():
        if isinstance(layer, nn.Conv2d):
            nn.init.normal_(layer.weight, 0, 0.5)
    with torch.no_grad():
        outputs = module(torch.zeros(1, 3, 32, 64))
    return module, card_of(name, settings, outputs)


def images():
    return np.random.default_rng(0).integers(0, 256, (2, 32, 64, 3), dtype=np.uint8)


def assert_same_but_for_classes(module, card, kept, smaller, classes):
    """Check that a detector finds what another does of some classes, and nothing else."""
    card, smaller = (replace(each, decoder=DecoderSpec(
        each.decoder.name, {**each.decoder.settings, 'nms': False})) for each in (card, smaller))
    for full, part in zip(detections_of(module, card, images()),
                          detections_of(kept, smaller, images()), strict=True):
        wanted = np.isin(full.classes, classes)
        assert wanted.any() and not wanted.all()
        np.testing.assert_allclose(part.scores, full.scores[wanted], atol=1e-5)
        np.testing.assert_allclose(part.boxes, full.boxes[wanted], atol=1e-5)
        assert [classes[number] for number in part.classes] == full.classes[wanted].tolist()


@pytest.mark.parametrize(('kind', 'form'), [
    ('yolo_dfl', 'maps'), ('yolo_dfl', 'rows'), ('yolox', 'maps'), ('yolox', 'rows'),
    ('yolox, probabilities', 'sigmoid'), ('retinanet', 'apart'), ('fcos', 'apart'),
    ('fcos', 'maps'), ('decoded', 'sigmoid')])
def test_the_rows_of_other_classes_are_taken_out(kind, form):
    module, card = predicting(kind, form)
    before = {name: value.clone() for name, value in module.state_dict().items()}
    kept, smaller = head_of(card).keep_classes(module, card, ['cat', 'person'])
    assert smaller.class_names == ('person', 'cat')
    assert kept.fields['classes'].out_channels == 2
    assert smaller.decoder == card.decoder
    with torch.no_grad():
        outputs = kept(torch.zeros(1, 3, 32, 64))
    assert [spec.shape for spec in smaller.outputs] == [tuple(out.shape) for out in outputs]
    assert_same_but_for_classes(module, card, kept, smaller, [0, 2])
    assert head_of(smaller).loss(outputs, outputs).total.item() == pytest.approx(0, abs=1e-5)
    for name, value in module.state_dict().items():
        assert torch.equal(value, before[name])  # the network given is left as it was


@pytest.mark.parametrize(('kind', 'form'), [
    ('ssd', 'apart'), ('yolox', 'counted'), ('yolox', 'shared'), ('yolox', 'entangled')])
def test_where_rows_cannot_be_taken_out_the_card_says_which_columns_count(kind, form):
    module, card = predicting(kind, form)
    if form == 'shared':  # one row makes two classes
        one = module.fields['classes']
        with torch.no_grad():
            one.weight[1], one.bias[1] = one.weight[0], one.bias[0]
    kept, smaller = head_of(card).keep_classes(module, card, ['cat', 'person'])
    assert kept is module
    first = 1 if kind == 'ssd' else 0
    assert smaller.decoder.settings['columns'] == [first, first + 2]
    assert smaller.decoder.settings['column_count'] == first + 3
    assert smaller.outputs == card.outputs
    assert_same_but_for_classes(module, card, kept, smaller, [0, 2])
    _, single = head_of(smaller).keep_classes(kept, smaller, ['cat'])
    assert single.decoder.settings['columns'] == [first + 2]
    assert_same_but_for_classes(module, card, kept, single, [2])


def test_classes_that_compete_in_a_softmax_stay_in_it():
    """Without a background, too: what one has won would go to the others."""
    module, card = predicting('retinanet', 'rows')
    card = replace(card, decoder=DecoderSpec('ssd', {
        **SSD, 'scores': 'softmax', 'background': 'none'}))
    kept, smaller = head_of(card).keep_classes(module, card, ['dog'])
    assert kept is module and smaller.decoder.settings['columns'] == [1]
    assert_same_but_for_classes(module, card, kept, smaller, [1])


def test_columns_in_another_order_stay_in_it():
    module, card = predicting('yolox', 'rows')
    settings = {**card.decoder.settings, 'columns': [2, 0], 'column_count': 3}
    turned = replace(card, class_names=('cat', 'person'),
                     decoder=DecoderSpec('yolox', settings))
    kept, smaller = head_of(turned).keep_classes(module, turned, ['cat', 'person'])
    assert kept.fields['classes'].out_channels == 2  # column 1 was no class of the card
    assert smaller.decoder.settings['columns'] == [1, 0]
    for full, part in zip(detections_of(module, turned, images()),
                          detections_of(kept, smaller, images()), strict=True):
        np.testing.assert_array_equal(full.classes, part.classes)
        np.testing.assert_allclose(full.scores, part.scores, atol=1e-5)


def test_the_network_is_described_with_its_new_widths(monkeypatch):
    from prune_perception.networks import registry
    module, card = predicting('yolox', 'rows')
    sizes = KINDS['yolox'][2]
    monkeypatch.setattr(registry, '_constructors', {
        'predicting': lambda classes=3: Predicting({**sizes, 'classes': classes}, 'rows')})
    card = replace(card, network=NetworkSpec('predicting', {}))
    kept, smaller = head_of(card).keep_classes(module, card, ['dog'])
    assert smaller.network.settings == {'classes': 1}
    registry.build(smaller.network).load_state_dict(kept.state_dict())


@pytest.mark.parametrize(('names', 'said'), [
    (['horse'], "class 'horse' is not in bundle small; it has person, dog, cat"),
    ([], 'no class is named')])
def test_classes_that_do_not_exist_are_told(names, said):
    module, card = predicting('yolox', 'rows')
    with pytest.raises(HeadError, match=said):
        head_of(card).keep_classes(module, card, names)
