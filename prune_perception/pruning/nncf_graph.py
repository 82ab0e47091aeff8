# Copyright 2026 the prune_perception authors
# SPDX-License-Identifier: Apache-2.0

"""
A graph that computes in integers of 8 bits: NNCF, OpenVINO's own quantiser, on ONNX.

It rounds as :mod:`prune_perception.pruning.int8_graph` does, but otherwise:

- a convolution and the activation behind it are one: no rounding between them;
- biases are corrected, so that the mean of each output channel stays what it was (Nagel et al.,
  *Data-Free Quantization Through Weight Equalization and Bias Correction*, ICCV 2019, here with
  the means seen on images);
- biases stay in float.
"""

from collections.abc import Sequence
import logging
import sys

import numpy as np
import onnx
from onnx import numpy_helper

# Before NNCF: it sets, before ONNX Runtime is imported, that nothing reports its use.
from prune_perception.pruning.int8_graph import finished, FloatGraph, Images, in_words, quiet

# NNCF reports its use unless the user has opted out. Where this module cannot be imported it takes
# a stub of its own instead, and so does OpenVINO, which it imports.
sys.modules.setdefault('openvino_telemetry', None)  # type: ignore[arg-type]

import nncf  # noqa: E402

_TO_UNSIGNED = 128


def quantised_graph(
        graph: FloatGraph, images: Images, *, keep: Sequence[str] = (),
        reduced_range: bool = False) -> bytes:
    """
    Return a graph that computes in integers: the same bytes for the same input.

    :param images: uint8 (n, height, width, 3), as the graph is fed, that show which values occur.
    :param keep: names of the nodes that go on computing in float.
    :param reduced_range: weights of 7 bits, for processors whose sums of 16 bits overflow.
    :raises QuantisationError: the quantiser cannot do it.
    """
    with in_words('quantise', f'NNCF {nncf.__version__}'), quiet():
        nncf.set_log_level(logging.CRITICAL)
        plain = onnx.load_model_from_string(graph.model)
        name = plain.graph.input[0].name
        model = nncf.quantize(
            plain, nncf.Dataset(list(images), lambda image: {name: image[None]}),
            # Symmetric for weights, a zero point for maps.
            preset=nncf.QuantizationPreset.MIXED,
            subset_size=len(images),
            ignored_scope=nncf.IgnoredScope(names=list(keep)) if keep else None,
            advanced_parameters=nncf.AdvancedQuantizationParameters(
                overflow_fix=nncf.OverflowFix.ENABLE if reduced_range
                else nncf.OverflowFix.DISABLE))
        _make_unsigned(model.graph)
    return finished(model)


def _make_unsigned(graph: 'onnx.GraphProto') -> None:
    """
    Make the integers of maps unsigned; what the graph computes stays the same, to the bit.

    ``round(x / s) + z`` in -128…127 becomes ``round(x / s) + z + 128`` in 0…255. OpenVINO 2026.4.1
    gets a concatenation of signed maps wrong on x86.
    """
    stored = {tensor.name: tensor for tensor in graph.initializer}
    points = {node.input[2] for node in graph.node
              if node.op_type == 'QuantizeLinear' and node.input[0] not in stored}
    for name in points:
        point = numpy_helper.to_array(stored[name])
        if point.dtype == np.int8:
            stored[name].CopyFrom(numpy_helper.from_array(
                (point.astype(int) + _TO_UNSIGNED).astype(np.uint8), name))
