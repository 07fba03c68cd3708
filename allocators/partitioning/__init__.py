"""Partitions of one node: how much of each resource every container shall have, step by step.

Duty: pure state machines ``(memory, what is seen) -> (memory, what is wanted, why)``; each named strategy is a paper's
rule, a released program's rule, or ours.
Ban: no clock, file or random generator: time stands in the view, draws follow from a seed in the memory.
Start reading at ``node_view.py`` (what a step sees), ``step.py`` (what it returns), then ``parties.py``.
"""
