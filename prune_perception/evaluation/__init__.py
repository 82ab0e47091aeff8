# Copyright 2026 the prune_perception authors
# SPDX-License-Identifier: Apache-2.0

"""
Judge detectors on a recording, before the robot drives.

========================  ===================================================================
``truth``                 what is known to be in the frames: the value types
``ground_truth``          reads it: COCO, MOTChallenge, YOLO, ``Detection2DArray`` in a bag
``runs``                  what a detector made of the frames: the value types
``replay``                runs detectors over a recording, frame by frame
``figures``               what an evaluation says: the value types, and every figure's name
``metrics``               average precision and its kin
``errors``                kinds of mistakes
``intervals``             how sure a figure is: bootstrap over blocks of frames
``cost``                  energy, modelled and measured
``memory``                what a detector alone takes
``corruptions``           bad weather, bad light, bad cameras
``robustness``            how the figures fall under them
``potential``             how much of a ladder's saving survives them: the rules
``potential_survey``      the ladder and the dense detector under corruptions
``potential_report``      what that says, in words, as a table and as a page
``realtime``              what the robot would have seen: the same over DDS, at the bag's pace
``evaluation``            all of it for one recording: from words to figures
``spread``                many recordings over processes or a Dask cluster
``workers``               the processes and the cluster, and what becomes of one that dies
``job``                   an evaluation with all that is asked for beside it
``job_error``             the error of words that are wrong
``requirements``          figures that must be reached
``files``                 files that are whole or not there
``report``                the page that people read
``detections_bag``        detections back into a bag
========================  ===================================================================

Importing this package loads nothing.
"""

LARGEST_LOSS = 0.05
"""Of agreement, that pruning may cost where nobody says otherwise; for forecast and potential."""

POTENTIAL_SEVERITIES = (1, 3, 5)
"""Of the corruptions that a ladder is shown."""

POTENTIAL_UP_TO = 3
"""Severity up to which the recommended rung has to survive."""
