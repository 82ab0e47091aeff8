# Copyright 2026 the prune_perception authors
# SPDX-License-Identifier: Apache-2.0

"""
Detector networks in torch.

``registry`` names them and rebuilds a pruned one from its card, ``export`` writes the graph that
the engines run, ``convert`` makes bundles of published weights. Only these modules import torch;
this package by itself does not.
"""

# Published weights that ``convert`` knows. It stands here so that the command can name them
# without importing torch.
CONVERTIBLE = ('nanodet_g',)
