"""The networks that stand for the eight papers in benchmarks."""

NETWORKS = (
    "mobilenet_v1",
    "mobilenet_v2",
    "mobilenet_v3_large",
    "mobilenet_v3_small",
    "efficientnet_b0",
    "shufflenet_g3",
    "squeezenet_1.1",
    "espnetv2",
)
"""Classifiers; each paper has one at least but ESPNet, which segments."""
