# Copyright 2026 the prune_perception authors
# SPDX-License-Identifier: Apache-2.0

"""From a graph with weights to the torch module with weights."""

import numpy as np
import torch

from prune_perception.networks.imported.graph import Graph
from prune_perception.networks.imported.network import OnnxNetwork
from prune_perception.networks.imported.onnx_file import write_onnx
from prune_perception.networks.imported.simplify import simplify


def rebuild(graph: Graph) -> OnnxNetwork:
    """
    Return the torch module of a graph, with its weights, in evaluation mode.

    :param graph: of fixed sizes; it is used up.
    :raises BundleError: it cannot be converted; one line without the file.
    """
    simpler, weights = simplify(graph)
    module = OnnxNetwork(write_onnx(simpler)).eval()
    state = {name: torch.from_numpy(np.array(value, copy=True))
             for name, value in weights.items()}
    for name, tensor in module.state_dict().items():
        if name not in state:  # what batch norm counts in training
            state[name] = torch.zeros(tensor.shape, dtype=tensor.dtype)
    module.load_state_dict(state, assign=True)
    return module
