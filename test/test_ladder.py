# Copyright 2026 the prune_perception authors
# SPDX-License-Identifier: Apache-2.0

"""Which bundles can stand in for each other, and what a step between them costs."""

from bundles import small_card, unwritten
import pytest

from prune_perception.bundle import Bundle, read_bundle
from prune_perception.resources import find_model
from prune_perception.runtime.ladder import check_ladder, LadderError, largest_first, Rung
from prune_perception.runtime.step_costs import StepCosts


def bundle(name: str, *class_names: str) -> Bundle:
    return unwritten(small_card(name=name, class_names=class_names or ('person', 'dog')))


def refusal(*bundles: Bundle) -> str:
    with pytest.raises(LadderError) as caught:
        check_ladder(bundles)
    assert '\n' not in str(caught.value)
    return str(caught.value)


def test_the_shipped_ladder_is_one() -> None:
    check_ladder([read_bundle(find_model(f'nanodet_g_person_{share}')) for share in (50, 25, 10)])


def test_other_classes_are_refused_with_the_difference() -> None:
    assert refusal(bundle('a'), bundle('b'), bundle('c', 'person')) == (
        "a and c cannot be in one ladder: a alone has 'dog'")
    assert refusal(bundle('a', 'person', 'cat'), bundle('b')) == (
        "a and b cannot be in one ladder: a alone has 'cat'; b alone has 'dog'")
    assert refusal(bundle('a'), bundle('b', 'person', 'dog', *'vwxyz')).endswith(
        "b alone has 'v', 'w', 'x' and 2 more")


def test_the_same_classes_in_another_order_are_refused() -> None:
    """The node names classes, but others go by their number."""
    assert refusal(bundle('a', 'person', 'dog', 'cat'), bundle('b', 'person', 'cat', 'dog')) == (
        "a and b cannot be in one ladder: the same classes in another order: number 1 is 'dog' in "
        "a and 'cat' in b")


def test_too_few_and_twice_the_same() -> None:
    assert 'two bundles or more' in refusal(bundle('a'))
    assert refusal(bundle('a'), bundle('b'), bundle('a')) == (
        'two bundles of the ladder are named a: somewhere and somewhere')


def test_order_is_by_energy_and_by_time_where_one_has_none() -> None:
    assert largest_first([Rung('a', 9.0, 0.1), Rung('b', 8.0, 0.3), Rung('c', 10.0, 0.2)]) == [
        1, 2, 0]
    assert largest_first([Rung('a', 9.0, 0.1), Rung('b', 8.0, None), Rung('c', 10.0, 0.2)]) == [
        2, 0, 1]


def costs() -> StepCosts:
    return StepCosts([Rung('large', 40.0, 0.3), Rung('small', 20.0, 0.1)])


def test_a_step_is_expected_to_cost_what_the_warm_up_and_the_model_say() -> None:
    assert costs().foretell(0.0, 'latency_ms', 30.0, 0) == pytest.approx(60.0)
    assert costs().foretell(0.0, 'watts', 5.0, 0) == pytest.approx(15.0)
    assert costs().foretell(0.0, 'temperature_c', 50.0, 0) == 50.0
    assert costs().foretell(0.0, 'battery_percent', 50.0, 0) == 50.0


def test_what_a_step_cost_is_learnt() -> None:
    learnt = costs()
    learnt.learn(0.0, 'watts', 0, larger=12.0, smaller=10.0)
    assert learnt.foretell(10.0, 'watts', 5.0, 0) == pytest.approx(6.0)


def test_a_step_up_is_never_foretold_to_save() -> None:
    learnt = costs()
    learnt.learn(0.0, 'latency_ms', 0, larger=10.0, smaller=20.0)
    assert learnt.foretell(10.0, 'latency_ms', 30.0, 0) == 30.0


def test_a_load_that_came_with_the_step_is_not_taken_for_its_cost() -> None:
    learnt = costs()
    learnt.learn(0.0, 'latency_ms', 0, larger=200.0, smaller=10.0)
    assert learnt.foretell(10.0, 'latency_ms', 10.0, 0) == pytest.approx(20.0)  # as expected


def test_a_mistake_is_believed_for_a_time() -> None:
    learnt = costs()
    learnt.mistaken(0.0, 'latency_ms', 0, larger=200.0, smaller=10.0, keep=1000.0)
    assert learnt.foretell(999.0, 'latency_ms', 10.0, 0) == pytest.approx(200.0)
    assert learnt.foretell(1001.0, 'latency_ms', 10.0, 0) == pytest.approx(20.0)
    learnt.mistaken(0.0, 'temperature_c', 0, larger=80.0, smaller=70.0, keep=1000.0)
    assert learnt.foretell(999.0, 'temperature_c', 60.0, 0) == pytest.approx(70.0)
    assert learnt.foretell(1001.0, 'temperature_c', 60.0, 0) == 60.0


def test_what_was_learnt_long_ago_is_believed_where_it_was_less_than_expected() -> None:
    learnt = costs()
    learnt.learn(0.0, 'watts', 0, larger=12.0, smaller=10.0)
    assert learnt.foretell(1e6, 'watts', 10.0, 0) == pytest.approx(12.0)
