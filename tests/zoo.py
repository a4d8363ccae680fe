"""The smallest model of each architecture and task, for tests that cannot take all of them.

`make zoo` builds and verifies all. Those whose smallest model is large are only there: ResNet-152,
PSPNet-101, Xception, NASNet, and DeepLabv3, whose layers are among those of the others.
"""

from pathlib import Path

RECIPES = Path(__file__).parents[1] / "compile"

SMALLEST = (
    "alexnet_torchvision",
    "efficientnet_b0",
    "espnet_camvid",
    "espnetv2_0.5",
    "espnetv2_language",
    "espnetv2_segmentation_voc_0.5_256",
    "mobilenet_v1_0.25_128",
    "mobilenet_v2_0.35_96",
    "mobilenet_v2_lraspp_0.35_513x1025",
    "mobilenet_v3_small_96",
    "mobilenet_v3_small_ssdlite_nms",
    "shufflenet_g8_0.25",  # g1 has no grouped convolution
    "squeezenet_1.1",
)
