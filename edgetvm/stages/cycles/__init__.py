"""Cycles of a candidate on a target that is not at hand, estimated from its compiled code."""
