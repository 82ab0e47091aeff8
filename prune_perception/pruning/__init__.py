# Copyright 2026 the prune_perception authors
# SPDX-License-Identifier: Apache-2.0

"""
From a dense detector and unlabelled footage to a smaller detector.

Everything here runs offline and may import torch; nothing is imported by this package itself.
"""

METHODS = ('combined', 'loss', 'energy', 'provable', 'magnitude', 'random')
"""The ways to choose channels, see ``methods``; here for those who must not import torch."""

ALIGNMENTS = (8, 16, 32)
"""What widths may be multiples of, the default first: the engines' kernels work on blocks of
channels. Coarser plans of wide networks run faster, and leave narrow ones too little of a choice.
"""

QUANTISERS = ('onnxruntime', 'nncf')
"""Who makes a graph of int8, the default first: ONNX Runtime's static quantisation or OpenVINO's
NNCF.
"""

LAST_LAYERS = ('auto', 'float', 'int8')
"""What its last layers compute in, the default first; ``auto`` measures both."""
