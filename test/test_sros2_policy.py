# Copyright 2026 the prune_perception authors
# SPDX-License-Identifier: Apache-2.0

"""The SROS 2 policy against the topics and services that the running nodes really have."""

from collections import defaultdict
from collections.abc import Iterator
from contextlib import contextmanager
from fnmatch import fnmatchcase
from pathlib import Path
from typing import Any
from xml.etree import ElementTree

import cv2
import numpy as np
import pytest
from robot import detector, Robot
from test_meters import grow

from prune_perception.resources import find_config, find_resource

# The kinds of names in a graph, and where a policy has them.
KINDS = {
    'publisher': ('topics', 'publish'), 'subscriber': ('topics', 'subscribe'),
    'service': ('services', 'reply'), 'client': ('services', 'request')}
CAMERAS = {'front/image': '/front/image_raw', 'rear/image': '/rear/image_raw'}
LADDER = ['nanodet_g_person_25', 'nanodet_g_person_10']

Names = dict[str, set[str]]


@pytest.fixture(scope='module')
def policy() -> ElementTree.Element:
    # With comments, which sros2 sees, too.
    parser = ElementTree.XMLParser(target=ElementTree.TreeBuilder(insert_comments=True))
    return ElementTree.parse(find_config('sros2_policy.xml'), parser).getroot()


def profile_of(policy: ElementTree.Element, enclave: str) -> ElementTree.Element:
    found = policy.findall(
        f"enclaves/enclave[@path='/prune_perception/{enclave}']/profiles/profile")
    assert len(found) == 1
    return found[0]


def allowed(profile: ElementTree.Element) -> Names:
    """Return the full names that a profile allows."""
    node = f'{profile.get("ns", "").rstrip("/")}/{profile.get("node")}'
    names: Names = {}
    for kind, (group, verb) in KINDS.items():
        written = [str(each.text) for rules in profile.findall(f"{group}[@{verb}='ALLOW']")
                   for each in rules.findall(group[:-1])]
        assert len(written) == len(set(written))
        names[kind] = {
            name if name.startswith('/') else name.replace('~', node, 1)
            if name.startswith('~/') else f'{profile.get("ns")}{name}' for name in written}
    return names


def names_in_the_graph(robot: Robot, node: str) -> Names:
    return {kind: {name for name, _ in getattr(
        robot, f'get_{kind}_names_and_types_by_node')(node, '/')} for kind in KINDS}


def added(*graphs: Names) -> Names:
    return {kind: set().union(*(graph[kind] for graph in graphs)) for kind in KINDS}


def test_policy_is_of_the_format(policy: ElementTree.Element) -> None:
    """As the schema of version 0.2.0 has it, of ROS 2's package sros2."""
    assert (policy.tag, policy.attrib) == ('policy', {'version': '0.2.0'})
    assert [child.tag for child in policy if child.tag is not ElementTree.Comment] == ['enclaves']
    # sros2 takes whatever is in there for an enclave, a comment as well.
    assert {child.tag for child in policy[0]} == {'enclave'}
    rules = {'topics': {'publish', 'subscribe'}, 'services': {'reply', 'request'}}
    for enclave in policy[0]:
        assert set(enclave.attrib) == {'path'}
        for profile in enclave.findall('*/*'):
            assert (profile.tag, set(profile.attrib)) == ('profile', {'ns', 'node'})
            for group in profile:
                assert group.tag in rules  # and no actions: no node has any
                assert group.attrib and set(group.attrib) <= rules[group.tag]
                assert set(group.attrib.values()) == {'ALLOW'}
                names = [each for each in group if each.tag is not ElementTree.Comment]
                assert names and {each.tag for each in names} == {group.tag[:-1]}
                assert all(each.text and each.text == each.text.strip() for each in names)


class Graphs:
    """What each node has, in all its configurations that were seen."""

    def __init__(self) -> None:
        self._found: dict[str, list[Names]] = defaultdict(list)

    @contextmanager
    def seen(self, enclave: str, parameters: dict[str, Any], **words: Any) -> Iterator[None]:
        """Start a detector and others beside it, and keep what they have."""
        with detector(parameters={'autostart': True, **parameters}, **words) as robot:
            of_node = {'detector': enclave, 'power_monitor': 'power_monitor',
                       'replay': 'replay'}
            wanted = {'detector', *(
                name.removesuffix('_node') for name in words.get('beside', ()))}

            def settled() -> bool:
                # Subscriptions are the last that come, and a detector's wait for its engine.
                graphs = [names_in_the_graph(robot, node) for node in sorted(wanted)]
                return all(graph['publisher'] for graph in graphs) and any(
                    name.endswith('/camera_info') for name in names_in_the_graph(
                        robot, 'detector')['subscriber'])
            robot.wait_for(
                lambda: wanted <= set(robot.get_node_names()) and settled(), 'graph')
            robot.values('detector')
            if 'power_monitor' in wanted:
                robot.values('power_monitor: meters')
            for node in wanted:
                self._found[of_node[node]].append(names_in_the_graph(robot, node))
            yield

    def of(self, enclave: str) -> Names:
        return added(*self._found[enclave])


@pytest.fixture(scope='module')
def graphs(tmp_path_factory: pytest.TempPathFactory) -> Graphs:
    folder = tmp_path_factory.mktemp('graphs')
    root = grow(folder, 'jetson_orin_nx')
    pictures = folder / 'pictures'
    pictures.mkdir()
    cv2.imwrite(str(pictures / '1.png'), np.zeros((48, 64, 3), np.uint8))
    graphs = Graphs()
    with graphs.seen('detector', {'use_sim_time': True}, beside={
            'power_monitor': {
                'root': str(root), 'battery_topic': 'battery', 'use_sim_time': True},
            'replay_node': {'recording': str(find_resource('demo', 'pedestrians')),
                            'clock': True, 'start_paused': True}}):
        pass
    with graphs.seen('detector', {'ladder': LADDER, 'image_transport': 'compressed'}, beside={
            'replay_node': {'recording': str(pictures), 'start_paused': True}}):
        pass
    cameras = {'cameras': ['front', 'rear']}
    with graphs.seen('detector_with_cameras', {**cameras, 'ladder': LADDER}, remappings=CAMERAS):
        pass
    with graphs.seen(
            'detector_with_cameras',
            {**cameras, 'use_sim_time': True, 'image_transport': 'compressed'},
            remappings=CAMERAS):
        pass
    return graphs


@pytest.mark.parametrize(
    'enclave', ['detector', 'detector_with_cameras', 'power_monitor', 'replay'])
def test_policy_is_what_the_nodes_have(
        policy: ElementTree.Element, graphs: Graphs, enclave: str) -> None:
    names, graph = allowed(profile_of(policy, enclave)), graphs.of(enclave)
    for kind in KINDS:
        missing = {name for name in graph[kind]
                   if not any(fnmatchcase(name, each) for each in names[kind])}
        unused = {each for each in names[kind]
                  if not any(fnmatchcase(name, each) for name in graph[kind])}
        assert (missing, unused) == (set(), set()), f'{enclave}: {kind}'


def test_annotated_images_are_not_allowed_to_leave(policy: ElementTree.Element) -> None:
    graphs = Graphs()
    with graphs.seen('detector', {'annotated_image': True, 'ladder': LADDER}):
        pass
    names = allowed(profile_of(policy, 'detector'))
    assert graphs.of('detector')['publisher'] - names['publisher'] == {
        '/detector/annotated_image'}


def test_every_enclave_is_held_against_its_nodes(policy: ElementTree.Element) -> None:
    paths = {Path(str(each.get('path'))).name for each in policy[0]}
    assert paths == {'detector', 'detector_with_cameras', 'power_monitor', 'replay'}
