# Copyright 2026 the prune_perception authors
# SPDX-License-Identifier: Apache-2.0

from dataclasses import replace
import math

from bundles import COMMITTED, small_card
import cv2
import numpy as np
import pytest

torch = pytest.importorskip('torch')

from torch import nn  # noqa: E402

from prune_perception.bundle import DecoderSpec, NetworkSpec, OutputSpec, read_bundle  # noqa: E402
from prune_perception.frames.recording import open_recording  # noqa: E402
from prune_perception.networks.nanodet import NanoDetG  # noqa: E402
from prune_perception.networks.registry import build, load_network, spec_of  # noqa: E402
from prune_perception.pruning.agreement import detections_of  # noqa: E402
from prune_perception.pruning.heads import (  # noqa: E402
    BOX_WEIGHT,
    head_of,
    HeadError,
    NanoDetHead,
)

DEMO = COMMITTED.parent.parent / 'demo' / 'pedestrians'
BINS = 3
NAMES = ('person', 'dog', 'cat')


class Shared(nn.Module):
    """One convolution makes the outputs of both levels."""

    def __init__(self, classes=2):
        super().__init__()
        self.stem = nn.Conv2d(3, 6, 3, stride=8, padding=1)
        self.down = nn.MaxPool2d(2)
        self.predict = nn.Conv2d(6, classes + 4 * BINS, 1)

    def forward(self, x):
        x = self.stem(x)
        return self.predict(x), self.predict(self.down(x))


class Squashed(Shared):
    """Its outputs are not those of a convolution."""

    def forward(self, x):
        return tuple(output.sigmoid() for output in super().forward(x))


def nanodet(height=64, width=96):
    """Return a NanoDet-g of three classes with random weights, and its card."""
    torch.manual_seed(0)
    module = NanoDetG(classes=len(NAMES), bins=BINS).eval()
    card = small_card()
    return module, replace(
        card, class_names=NAMES, input=replace(card.input, height=height, width=width),
        outputs=tuple(
            OutputSpec(f'head{stride}', (1, 3 + 4 * BINS, height // stride, width // stride))
            for stride in (8, 16, 32)),
        decoder=DecoderSpec('nanodet', {'strides': [8, 16, 32], 'bins': BINS}),
        network=spec_of('nanodet_g', module, {'classes': 3, 'bins': BINS}),
        energy={'somewhere': {}}, measured=({'ap': 1},), certificate={})


def test_the_kept_classes_answer_as_before_in_the_order_of_the_card():
    module, card = nanodet()
    before = {name: value.clone() for name, value in module.state_dict().items()}
    kept, kept_card = head_of(card).keep_classes(module, card, ['cat', 'person'])
    assert kept_card.class_names == ('person', 'cat')
    image = torch.randn(2, 3, 64, 96)
    with torch.no_grad():
        for full, part in zip(module(image), kept(image), strict=True):
            torch.testing.assert_close(part, full[:, [0, 2, *range(3, 3 + 4 * BINS)]])
    for name, value in module.state_dict().items():
        assert torch.equal(value, before[name])  # the network given is left as it was


def test_the_card_describes_the_smaller_network():
    module, card = nanodet()
    kept, kept_card = head_of(card).keep_classes(module, card, ['dog'])
    assert [output.shape for output in kept_card.outputs] == [
        (1, 13, 8, 12), (1, 13, 4, 6), (1, 13, 2, 3)]
    assert kept_card.network.settings == {'classes': 1, 'bins': BINS}
    build(kept_card.network).load_state_dict(kept.state_dict())
    assert (kept_card.energy, kept_card.measured, kept_card.certificate) == ({}, (), None)
    # The head of the new card reads the new outputs.
    outputs = kept(torch.zeros(1, 3, 64, 96))
    assert head_of(kept_card).loss(outputs, outputs).total.item() == pytest.approx(0, abs=1e-6)


def test_detections_of_the_kept_class_are_those_of_the_whole_network():
    bundle = read_bundle(COMMITTED)
    module = load_network(bundle)
    with open_recording(DEMO) as recording:
        image = cv2.resize(next(iter(recording)).image(), (416, 416))[None]
    kept, card = head_of(bundle.card).keep_classes(module, bundle.card, ['person'])
    full, part = (detections_of(network, its_card, image)[0]
                  for network, its_card in ((module, bundle.card), (kept, card)))
    # Below some score the limit of detections in an image leaves out people for other classes.
    people, same = (full.classes == 0) & (full.scores > 0.2), part.scores > 0.2
    assert people.sum() >= 3
    np.testing.assert_allclose(part.boxes[same], full.boxes[people], atol=1e-4)
    np.testing.assert_allclose(part.scores[same], full.scores[people], atol=1e-4)
    assert not part.classes.any()


def test_a_convolution_that_makes_two_outputs_is_reduced_once():
    module = Shared().eval()
    card = replace(small_card(), network=None)
    kept, kept_card = head_of(card).keep_classes(module, card, ['dog'])
    image = torch.randn(1, 3, 32, 64)
    with torch.no_grad():
        for full, part in zip(module(image), kept(image), strict=True):
            torch.testing.assert_close(part, full[:, 1:])
    assert [output.shape[1] for output in kept_card.outputs] == [13, 13]


def test_a_constructor_without_a_number_of_classes_is_not_given_one(monkeypatch):
    from prune_perception.networks import registry
    monkeypatch.setattr(registry, '_constructors', {'plain': lambda: Shared(classes=2)})
    module = Shared().eval()
    card = replace(small_card(), network=NetworkSpec('plain', {}))
    kept, kept_card = head_of(card).keep_classes(module, card, ['dog'])
    assert kept_card.network.settings == {}
    build(kept_card.network).load_state_dict(kept.state_dict())


@pytest.mark.parametrize(('names', 'said'), [
    (['horse'], "class 'horse' is not in bundle small; it has person, dog"),
    ([], 'no class is named')])
def test_classes_that_do_not_exist_are_told(names, said):
    card = small_card()
    with pytest.raises(HeadError, match=said):
        head_of(card).keep_classes(Shared(), card, names)


def test_outputs_that_no_convolution_makes_are_told():
    card = small_card()
    with pytest.raises(HeadError, match="output 'fine' is not what one convolution makes"):
        head_of(card).keep_classes(Squashed(), card, ['dog'])


def test_a_decoder_without_a_head_is_told():
    card = replace(small_card(), decoder=DecoderSpec('yolo', {}))
    with pytest.raises(HeadError, match="decoder 'yolo' cannot be distilled; known are nanodet"):
        head_of(card)


def test_the_loss_is_what_can_be_worked_out_by_hand():
    """One class, two bins, eight cells that all say the same."""
    teacher = torch.zeros(1, 1 + 8, 2, 4)  # probability 1/2; each bin 1/2
    student = torch.zeros(1, 1 + 8, 2, 4)
    student[:, 0] = 2.0
    student[:, 1] = math.log(3)  # the left side alone: 3/4 and 1/4
    loss = NanoDetHead(1, 2).loss([student], [teacher])
    cross_entropy = 0.5 * (math.log(1 + math.exp(-2)) + math.log(1 + math.exp(2)))
    sure = 1 / (1 + math.exp(-2))  # the student, of more than the teacher
    classes = 4 * (sure + 0.05) * (cross_entropy - math.log(2)) / 0.5
    boxes = BOX_WEIGHT * (0.5 * math.log(0.5 / 0.75) + 0.5 * math.log(0.5 / 0.25))
    assert loss.parts == pytest.approx({'classes': classes, 'boxes': boxes}, rel=1e-5)
    assert loss.total.item() == pytest.approx(classes + boxes, rel=1e-5)


def test_the_loss_is_least_at_the_teacher():
    torch.manual_seed(1)
    head = NanoDetHead(2, BINS)
    teacher = [torch.randn(2, 2 + 4 * BINS, 3, 5) * 3 for _ in range(2)]
    student = [output.clone().requires_grad_() for output in teacher]
    loss = head.loss(student, teacher)
    loss.total.backward()
    assert loss.total.item() == pytest.approx(0, abs=1e-5)
    for output in student:
        assert output.grad.abs().max() < 1e-6
    other = [output + 0.3 * torch.randn_like(output) for output in teacher]
    assert head.loss(other, teacher).total > 0.01
    halved = head.loss(other, [output.half() for output in teacher])
    assert halved.total.item() == pytest.approx(head.loss(other, teacher).total.item(), rel=1e-2)


def test_a_box_counts_by_the_confidence_in_its_cell():
    head = NanoDetHead(1, BINS)
    teacher = torch.zeros(1, 1 + 4 * BINS, 1, 200)
    teacher[:, 0] = -8.0
    teacher[:, 0, 0, 0] = 8.0
    losses = []
    for cell in (0, 1):
        student = teacher.clone()
        student[0, 1, 0, cell] = 2.0
        losses.append(head.loss([student], [teacher]).parts['boxes'])
    assert losses[0] > 1000 * losses[1] > 0


def test_pictures_without_objects_do_not_count_without_bound():
    teacher = torch.full((1, 1 + 4 * BINS, 4, 4), -20.0)
    student = teacher.clone()
    student[:, 0] = -4.0
    loss = NanoDetHead(1, BINS).loss([student], [teacher])
    weight = 4 * (1 / (1 + math.exp(4)) + 0.05)
    assert loss.total.item() == pytest.approx(16 * weight * math.log(1 + math.exp(-4)), rel=1e-3)


def test_who_is_missed_counts_more_than_as_much_on_the_background():
    head = NanoDetHead(1, BINS)
    teacher = torch.full((1, 1 + 4 * BINS, 1, 2), -4.0)
    teacher[0, 0, 0, 0] = 1.0
    losses = []
    for cell in (0, 1):
        student = teacher.clone()
        student[0, 0, 0, cell] += 1.0 if cell else -1.0
        losses.append(head.loss([student], [teacher]).parts['classes'])
    assert losses[0] > 20 * losses[1] > 0


def test_the_opinion_of_a_mirrored_image_is_turned_back():
    """An object in the first of three cells, which reaches farther to the left of its centre."""
    seen = torch.full((1, 1 + 4 * BINS, 1, 3), -9.0)
    seen[0, 0, 0, 0] = 2.0
    distances = seen[:, 1:].view(1, 4, BINS, 1, 3)
    for side, far in enumerate((2, 0, 1, 0)):  # left, top, right, bottom
        distances[0, side, far, 0, 0] = 9.0
    mirrored = torch.full_like(seen, -9.0)
    mirrored[0, 0, 0, 2] = 2.0
    distances = mirrored[:, 1:].view(1, 4, BINS, 1, 3)
    for side, far in enumerate((1, 0, 2, 0)):
        distances[0, side, far, 0, 2] = 9.0
    turned, = NanoDetHead(1, BINS).mirrored([mirrored])
    assert torch.equal(turned, seen)
    turned, = NanoDetHead(1, BINS).mirrored([seen.half()])
    assert torch.equal(turned, mirrored.half())


def test_opinions_that_differ_are_averaged_as_probabilities():
    once, again = torch.zeros(1, 1 + 4 * BINS, 1, 1), torch.zeros(1, 1 + 4 * BINS, 1, 1)
    once[0, 0] = math.log(9.0)  # 0.9, and 0.5 again
    once[0, 1] = math.log(BINS + 1)  # the left side's first bin; they were alike
    average, = NanoDetHead(1, BINS).averaged([once], [again])
    assert average[0, 0].sigmoid().item() == pytest.approx(0.7)
    left = average[0, 1:1 + BINS].softmax(0)[0].item()
    assert left == pytest.approx(((BINS + 1) / (2 * BINS) + 1 / BINS) / 2)
    assert average.isfinite().all()


def test_the_noise_has_the_curvature_of_the_loss():
    """Each image of a batch is a draw of its own, so that one pass draws many."""
    torch.manual_seed(2)
    classes, draws = 2, 40_000
    channels = classes + 4 * BINS
    head = NanoDetHead(classes, BINS)
    outputs = torch.randn(1, channels, 1, 2, dtype=torch.float32)
    outputs[:, :classes] += 1
    many = outputs.repeat(draws, 1, 1, 1).requires_grad_()
    generator = torch.Generator().manual_seed(7)
    head.curvature_noise([many], generator).backward()
    drawn = many.grad.reshape(draws, -1)
    found = drawn.T @ drawn / draws

    confidence = outputs[:, :classes].sigmoid().amax(1).sum()
    assert confidence > 1  # below that the loss is divided by 1
    exact = torch.autograd.functional.hessian(
        lambda flat: head.loss([flat.view_as(outputs)], [outputs]).total, outputs.reshape(-1))
    torch.testing.assert_close(found, exact * confidence, atol=0.01, rtol=0.05)
    assert drawn.mean(0).abs().max() < 0.01


def test_the_noise_is_that_of_the_generator():
    outputs = [torch.randn(1, 1 + 4 * BINS, 4, 4)]
    first, again, other = (
        NanoDetHead(1, BINS).curvature_noise(outputs, torch.Generator().manual_seed(seed)).item()
        for seed in (1, 1, 2))
    assert first == again != other
