# Copyright 2026 the prune_perception authors
# SPDX-License-Identifier: Apache-2.0

"""
Networks that come as an ONNX graph: read, rebuilt in torch, and made into a bundle.

``graph`` holds a graph as plain values, ``onnx_file`` reads and writes it, ``tensorflow_js`` reads
another format as if it were one, ``operators`` says what each operator is in torch, ``network`` is
the module that is built of them, ``simplify`` brings a graph into the form in which channels can
be followed, ``rebuild`` does both.

A converter of somebody else's would be welcome here. Those that are kept, onnx2torch and
onnx2pytorch, both ask for torchvision, which nothing here needs, and neither leaves a graph whose
channels can be taken out: sizes that hang on the number of channels stay numbers.
"""
