# Copyright 2026 the prune_perception authors
# SPDX-License-Identifier: Apache-2.0

"""
Make a bundle of somebody's own detector.

``description`` completes what a card has to say, ``factory`` runs a function that returns a torch
network, ``trial`` finds what must stay when channels are taken out, ``job`` does it all.
"""
