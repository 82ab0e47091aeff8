# Copyright 2026 the prune_perception authors
# SPDX-License-Identifier: Apache-2.0

import copy

import numpy as np
import pytest

torch = pytest.importorskip('torch')

from torch import nn  # noqa: E402

from prune_perception.bundle import InputSpec  # noqa: E402
from prune_perception.pruning import distillation  # noqa: E402
from prune_perception.pruning.distillation import distil, Settings  # noqa: E402
from prune_perception.pruning.footage import tensor_of  # noqa: E402
from prune_perception.pruning.heads import Loss, NanoDetHead  # noqa: E402

FED = InputSpec(32, 32, 'bgr', (127.0,) * 3, (64.0,) * 3, 'stretch')
HEAD = NanoDetHead(1, 3)


class Tiny(nn.Module):
    """Two levels of one class and three bins, with a normalisation to be kept in step."""

    def __init__(self, width=8):
        super().__init__()
        self.body = nn.Sequential(
            nn.Conv2d(3, width, 3, stride=4, padding=1), nn.BatchNorm2d(width), nn.LeakyReLU(0.1),
            nn.Conv2d(width, width, 3, stride=2, padding=1), nn.LeakyReLU(0.1))
        self.predict = nn.Conv2d(width, 13, 1)
        self.calls = 0

    def forward(self, x):
        self.calls += 1
        x = self.body(x)
        return self.predict(x), self.predict(nn.functional.max_pool2d(x, 2))


def networks():
    """Return a teacher with something to say, and a student that is somewhat off."""
    torch.manual_seed(0)
    teacher = Tiny().eval()
    nn.init.normal_(teacher.predict.weight, std=1.5)
    student = copy.deepcopy(teacher)
    with torch.no_grad():
        for parameter in student.parameters():
            parameter += 0.15 * torch.randn_like(parameter)
    return student, teacher


def frames(number, seed=0):
    rng = np.random.default_rng(seed)
    coarse = rng.integers(0, 256, (number, 8, 8, 3), np.uint8)
    return coarse.repeat(4, 1).repeat(4, 2)


@pytest.fixture(autouse=True)
def one_thread():
    """More threads would only wait for each other over networks as small as these."""
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(threads)


FIT, SELECT = frames(24), frames(9, seed=1)


def run(student, teacher, progress=None, **settings):
    chosen = Settings(**{'batch': 4, 'views': 32, 'warm_up': 5, **settings})
    return distil(student, asked(teacher), FIT, SELECT, HEAD, FED, chosen, progress)


def asked(teacher):
    """Return a network as one that is shown pictures."""
    def answer(image):
        assert image.dtype == np.uint8 and image.shape == (1, 32, 32, 3)
        assert image.flags.c_contiguous  # engines want it so
        with torch.no_grad():
            return teacher(tensor_of(image, FED))
    return answer


def loss_on(student, teacher, images):
    """Return the loss against what the teacher sees in both directions."""
    with torch.no_grad():
        x = tensor_of(images, FED)
        wanted = HEAD.averaged(teacher(x), HEAD.mirrored(teacher(x.flip(-1))))
        return HEAD.loss(student.eval()(x), wanted).total.item()


def state_of(module):
    return {name: value.clone() for name, value in module.state_dict().items()}


def same(first, second):
    return all(torch.equal(value, second[name]) for name, value in first.items())


class Clock:
    """Time goes on by the calls of the networks: the same on any machine."""

    def __init__(self, monkeypatch, student, teacher, step, look):
        self._student, self._teacher, self._step, self._look = student, teacher, step, look
        monkeypatch.setattr(distillation.time, 'monotonic', self)

    def __call__(self):
        return self._step * self._student.calls + self._look * self._teacher.calls


def test_the_student_comes_nearer_to_its_teacher():
    student, teacher = networks()
    before, kept = loss_on(student, teacher, frames(30, seed=2)), state_of(teacher)
    points = run(student, teacher, steps=150)
    assert loss_on(student, teacher, frames(30, seed=2)) < 0.5 * before
    assert points[-1].select_loss < 0.5 * points[0].select_loss
    assert points[-1].train_loss < 0.5 * points[0].train_loss
    assert same(kept, state_of(teacher)) and not teacher.training
    assert not student.training


def test_points_tell_the_course():
    points = run(*networks(), steps=60)
    assert [point.step for point in points] == list(range(0, 61, 4))
    assert [point.seconds for point in points] == sorted(point.seconds for point in points)
    for point in points:
        assert set(point.parts) == {'classes', 'boxes'}
        assert sum(point.parts.values()) == pytest.approx(point.train_loss)


def test_the_first_point_is_the_student_as_it_came():
    student, teacher = networks()
    before = loss_on(student, teacher, SELECT[:8])  # the mean over batches weighs them equally
    distilled = distil(
        student, asked(teacher), FIT, SELECT[:8], HEAD, FED, Settings(batch=8, steps=1))
    assert distilled[0].select_loss == pytest.approx(before, rel=1e-2)  # of float16 targets


def test_the_same_seed_and_steps_give_the_same_result():
    states, points = [], []
    for seed in (1, 1, 2):
        student, teacher = networks()
        points.append(run(student, teacher, steps=30, seed=seed))
        states.append(state_of(student))
    assert same(states[0], states[1])
    assert [p.select_loss for p in points[0]] == [p.select_loss for p in points[1]]
    assert not same(states[0], states[2])


def test_the_best_weights_on_the_frames_kept_aside_stay(monkeypatch):
    """A learning rate far too high spoils the student, which is then left as it came."""
    monkeypatch.setattr(distillation, '_DIVERGED', np.inf)  # it is not to come back before
    monkeypatch.setattr(distillation, '_WORSE', np.inf)
    student, teacher = networks()
    before = state_of(student)
    points = run(student, teacher, steps=30, learning_rate=10.0)
    assert all(point.select_loss > points[0].select_loss for point in points[1:])
    assert same(before, state_of(student))


@pytest.mark.parametrize('scale', [1.0, 1e-2, 1e-4])
def test_a_student_that_is_near_takes_smaller_steps(scale):
    """The first step of AdamW is as long as the rate, however long the gradient is."""
    class Scaled(NanoDetHead):
        def loss(self, student, teacher):
            loss = super().loss(student, teacher)
            return Loss(scale * loss.total, {n: scale * part for n, part in loss.parts.items()})

    student, teacher = networks()
    before = {name: value.detach().clone() for name, value in student.named_parameters()}
    moves = []

    def measure(module, _):
        if module is student:  # and not its moving average, which has the hook as well
            moves.append(max((value - before[name]).abs().max().item()
                             for name, value in module.named_parameters()))

    student.register_forward_pre_hook(measure)
    points = distil(student, asked(teacher), FIT, SELECT, Scaled(1, 3), FED,
                    Settings(batch=4, views=8, steps=2, warm_up=1, learning_rate=1e-2))
    expected = 1e-2 * min(1.0, points[0].select_loss / distillation.FAR)
    assert max(moves) == pytest.approx(expected, rel=0.05)


@pytest.mark.parametrize('learning_rate', [3.0, 300.0])
def test_a_run_that_diverges_goes_on_with_smaller_steps(learning_rate):
    student, teacher = networks()
    points = run(student, teacher, steps=150, learning_rate=learning_rate)
    assert points[-1].step > 140
    assert all(np.isfinite([point.train_loss, point.select_loss]).all() for point in points)
    assert min(point.select_loss for point in points) < 0.9 * points[0].select_loss


def test_a_loss_that_rises_on_frames_kept_aside_goes_on_with_smaller_steps(monkeypatch):
    monkeypatch.setattr(distillation, '_DIVERGED', np.inf)
    student, teacher = networks()
    points = run(student, teacher, steps=150, learning_rate=30.0)
    assert max(point.select_loss for point in points) > 1.5 * points[0].select_loss
    assert min(point.select_loss for point in points) < 0.9 * points[0].select_loss


def test_a_lower_learning_rate_rises_anew_and_forgets_the_losses_before():
    start = distillation.Point(0, 0.0, train_loss=1.0, parts={}, select_loss=1.0)
    rate = distillation._LearningRate(Settings(steps=100, warm_up=4, learning_rate=0.1), start)
    optimiser = rate.optimiser_of(nn.Linear(1, 1))
    large, patience = 1.01 * distillation._DIVERGED, distillation._PATIENCE

    def steps(share):
        rates, diverged = [], []
        for _ in range(patience):
            rate.set(optimiser, share)
            rates.append(optimiser.param_groups[0]['lr'])
            diverged.append(rate.diverged(large))
        return rates, diverged

    first, gone = steps(share=0.0)
    assert first[:5] == pytest.approx([0.025, 0.05, 0.075, 0.1, 0.1])
    assert gone == [False] * (patience - 1) + [True]
    rate.lower()
    second, gone = steps(share=0.5)
    assert second == pytest.approx(  # half of the cosine is over
        [value * distillation._SMALLER / 2 for value in first])
    assert gone == [False] * (patience - 1) + [True]
    assert rate.diverged(float('nan'))


def test_a_network_that_no_step_makes_better_is_left_as_it_was(monkeypatch):
    monkeypatch.setattr(distillation, '_SMALLER', 1.0)
    student, teacher = networks()
    before = state_of(student)
    run(student, teacher, steps=30, learning_rate=1e38)
    assert same(before, state_of(student))


def test_the_weights_left_have_the_loss_that_was_told():
    student, teacher = networks()
    points = distil(
        student, asked(teacher), FIT, SELECT[:8], HEAD, FED, Settings(batch=8, views=32, steps=60))
    best = min(point.select_loss for point in points)
    assert loss_on(student, teacher, SELECT[:8]) == pytest.approx(best, rel=0.02, abs=1e-3)


@pytest.mark.parametrize('seconds', [10.0, 30.0, 100.0])
def test_the_time_limit_is_kept_and_used(monkeypatch, seconds):
    student, teacher = networks()
    Clock(monkeypatch, student, teacher, step=0.3, look=0.06)
    points = run(student, teacher, seconds=seconds, views=100_000)
    # The averaged network is a copy, whose evaluations this clock does not count.
    assert 0.85 * seconds < points[-1].seconds <= seconds + 0.3
    assert points[-1].step > 0.8 * seconds


def test_the_pool_takes_a_quarter_of_the_time_at_most(monkeypatch):
    student, teacher = networks()
    Clock(monkeypatch, student, teacher, step=0.5, look=0.1)
    run(student, teacher, seconds=40.0, views=100_000)
    assert 0.24 * 40 < 0.1 * teacher.calls < 0.25 * 40 + 0.4


def test_a_limit_too_short_for_a_step_leaves_the_student_as_it_came(monkeypatch):
    student, teacher = networks()
    before = state_of(student)
    Clock(monkeypatch, student, teacher, step=1.0, look=0.1)
    points = run(student, teacher, seconds=0.5)
    assert [point.step for point in points] == [0]
    assert same(before, state_of(student))


def test_steps_end_it_before_the_time_does():
    assert run(*networks(), steps=10, seconds=1000.0)[-1].step == 10


def test_the_teacher_looks_once_at_each_view_and_its_mirror_image():
    student, teacher = networks()
    run(student, teacher, steps=40, views=32)
    assert teacher.calls == 2 * (32 + len(SELECT))


def test_where_images_cannot_be_mirrored_there_is_one_look():
    class Onesided(NanoDetHead):
        mirrors = False

        def mirrored(self, outputs):
            raise AssertionError('cannot be mirrored')

    student, teacher = networks()
    distil(student, asked(teacher), FIT, SELECT, Onesided(1, 3), FED,
           Settings(batch=4, views=16, steps=12))
    assert teacher.calls == 16 + len(SELECT)


def test_a_student_that_is_as_good_as_its_teacher_stays_so():
    class Rounding(NanoDetHead):
        def loss(self, student, teacher):
            loss = super().loss(student, teacher)
            return Loss(loss.total * 0, {'classes': -1e-7})

    student, teacher = networks()
    before = state_of(student)
    distil(student, asked(teacher), FIT, SELECT, Rounding(1, 3), FED,
           Settings(batch=4, views=8, steps=2))
    assert same(before, state_of(student))


def test_no_more_views_are_made_than_steps_can_take():
    student, teacher = networks()
    run(student, teacher, steps=2, views=1000)
    assert teacher.calls == 2 * (2 * 4 + len(SELECT))


def test_of_many_frames_kept_aside_some_are_looked_at():
    student, teacher = networks()
    distil(student, asked(teacher), FIT, frames(500), HEAD, FED,
           Settings(batch=4, views=8, steps=1))
    assert teacher.calls == 2 * (4 + 48)


def test_the_student_sees_views_and_their_mirror_images_with_the_answers_to_match():
    """A teacher that says how bright the left half is: the student hears it of what it sees."""
    ramp = np.zeros((4, 32, 32, 3), np.uint8)
    ramp[:, :, 16:] = 180
    seen, heard = [], []

    class Listening(NanoDetHead):
        def loss(self, student, teacher):
            heard.append([output[:, 0].detach().float() for output in teacher])
            return super().loss(student, teacher)

    def teacher(image):
        left, right = (image[:, :, half].mean() / 90 - 1 for half in (slice(16), slice(16, None)))
        answer = torch.zeros(1, 13, 4, 4)
        answer[:, 0, :, :2], answer[:, 0, :, 2:] = float(left), float(right)
        return [answer, answer[..., :2, 1:3]]

    student = Tiny()
    student.register_forward_pre_hook(
        lambda module, inputs: seen.append(inputs[0].clone()) if module.training else None)
    distil(student, teacher, ramp, SELECT[:1], Listening(1, 3), FED,
           Settings(batch=2, views=8, steps=20))
    heard = [answers for answers in heard if len(answers[0]) == 2][-len(seen):]
    brighter_right = [bool(x[:, :, :, 16:].mean() > x[:, :, :, :16].mean()) for x in seen]
    assert {True, False} == set(brighter_right)
    for right, answers in zip(brighter_right, heard, strict=True):
        for answer in answers:
            assert bool(answer[..., -1].mean() > answer[..., 0].mean()) == right


def test_a_distillation_without_end_is_refused():
    with pytest.raises(ValueError, match='seconds, steps or both'):
        Settings()


def test_progress_rises_to_its_end():
    told = []
    run(*networks(), steps=20, progress=lambda share, text: told.append(share))
    assert told == sorted(told) and told[0] == 0 and 0.9 < told[-1] <= 1


def test_fewer_frames_than_a_batch_will_do():
    student, teacher = networks()
    points = distil(student, asked(teacher), FIT[:1], SELECT[:1], HEAD, FED,
                    Settings(batch=8, views=3, steps=5))
    assert points[-1].step == 5
