# Copyright 2026 the prune_perception authors
# SPDX-License-Identifier: Apache-2.0

"""Node parameters as a table: one row each, from which they are declared and described."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
import difflib
from typing import Any

from rcl_interfaces.msg import FloatingPointRange, IntegerRange, ParameterDescriptor
from rclpy.exceptions import InvalidParameterTypeException, InvalidParameterValueException
from rclpy.node import Node
from rclpy.parameter import Parameter


@dataclass(frozen=True)
class ParameterSpec:
    """
    One parameter.

    :param default: its type is the parameter's type. An empty list of texts is written
        ``['']``, since ROS cannot tell the type of an empty list; one that is given is taken
        for the default.
    :param limits: smallest and largest value, for numbers.
    :param live: takes effect at once; the others when the node is configured.
    :param read_only: cannot be changed after start.
    """

    name: str
    default: Any
    description: str
    limits: tuple[float, float] | None = None
    choices: tuple[str, ...] = ()
    live: bool = False
    read_only: bool = False

    def descriptor(self) -> ParameterDescriptor:
        """Return what ``ros2 param describe`` shows."""
        descriptor = ParameterDescriptor(
            name=self.name, description=self.description, read_only=self.read_only)
        if self.choices:
            descriptor.additional_constraints = f'one of: {", ".join(self.choices)}'
        if self.limits and isinstance(self.default, float):
            descriptor.floating_point_range = [FloatingPointRange(
                from_value=self.limits[0], to_value=self.limits[1], step=0.0)]
        elif self.limits:
            descriptor.integer_range = [IntegerRange(
                from_value=int(self.limits[0]), to_value=int(self.limits[1]), step=1)]
        return descriptor


def declare(node: Node, specs: Sequence[ParameterSpec]) -> dict[str, str]:
    """
    Declare parameters.

    :returns: by the parameter's name, a line for each value given at start that cannot be. The
        parameter then has the default, and whoever configures the node must refuse until it is
        set right.
    """
    problems = {}
    for spec in specs:
        try:
            node.declare_parameter(spec.name, spec.default, spec.descriptor())
        except (InvalidParameterTypeException, InvalidParameterValueException) as error:
            node.declare_parameter(
                spec.name, spec.default, spec.descriptor(), ignore_override=True)
            problems[spec.name] = _problem(spec, ' '.join(str(error).split()))
            continue
        # An empty list in a file has no type, and leaves the parameter without a value.
        if node.get_parameter_or(spec.name).type_ == Parameter.Type.NOT_SET:
            node.set_parameters([Parameter(spec.name, value=spec.default)])
        # A descriptor can only tell of choices; unlike ranges, rclpy does not enforce them.
        value = node.get_parameter(spec.name).value
        if spec.choices and value not in spec.choices:
            node.set_parameters([Parameter(spec.name, value=spec.default)])
            problems[spec.name] = _problem(
                spec, f'is {value!r}; it must be one of {", ".join(spec.choices)}')
    return problems


def _problem(spec: ParameterSpec, text: str) -> str:
    remedy = '; start the node again' if spec.read_only else ''
    return f'parameter {spec.name}: {text}{remedy}'


def warn_of_strangers(node: Node, explain: Callable[[str], str | None] = lambda name: None
                      ) -> None:
    """
    Warn of each value given at start that no parameter takes, as by a typo.

    To be called when all are declared. What rclpy declares, it has by then; but for QoS overrides,
    which it declares with the topic that they are of.

    :param explain: returns why there is no such parameter, where that is known.
    """
    declared = list(node.get_parameters_by_prefix(''))
    for name in sorted(node._parameter_overrides):
        if node.has_parameter(name) or name.startswith('qos_overrides.'):
            continue
        nearest = difflib.get_close_matches(name, declared, n=1)
        node.get_logger().warning(
            f'parameter {name}: is ignored; {explain(name) or "there is none of that name"}'
            + (f'; did you mean {nearest[0]}?' if nearest else ''))


def texts(node: Node, name: str) -> tuple[str, ...]:
    """Return a list of texts without the empty ones (see :class:`ParameterSpec`)."""
    return without_empty(node.get_parameter(name).value or ())


def without_empty(values: Sequence[str]) -> tuple[str, ...]:
    """Return texts without the empty ones."""
    return tuple(text for text in values if text)
