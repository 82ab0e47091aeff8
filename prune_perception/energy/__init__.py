# Copyright 2026 the prune_perception authors
# SPDX-License-Identifier: Apache-2.0

"""
What a network costs.

========================  ===================================================================
``shapes``                the shape of a layer, and of a mere movement of data
``hardware``              hardware profiles: what an access and a MAC cost, how much fits where
``accesses``              words that move, by kind of data and by level of the memory
``row_stationary``        accesses of a layer on an array of processing elements (Eyeriss)
``blocked``               accesses of a layer on a processor with caches
``model``                 from a shape and a profile to energy, by kind of data and by level
``operators``             from a torch operator to a shape, by pure functions
``counting``              runs a torch module once and writes down what it did (needs torch)
``layers``                what it wrote down
``account``               the energy account of a network
``report``                the account as a table and as a page
``meters``                what the machine really draws: one interface over its sensors
``window``                energy per frame from a meter, honestly
========================  ===================================================================

``docs/energy.md`` derives the formulas, says what they leave out, and compares their results
with figures that others published; ``docs/meters.md`` says what each sensor
includes. Importing this package loads neither torch nor numpy.
"""
