"""The smallest model of each architecture and task, for tests that cannot take all of them.

All of them are built by `make zoo`; the largest families, whose smallest model is large, only
there: PSPNet, Xception and DeepLabv3 on MobileNetV1.
"""

from pathlib import Path

RECIPES = Path(__file__).parents[1] / "compile"

SMALLEST = (
    "alexnet_torchvision",
    "efficientnet_b0",
    "espnet_a_q3",
    "espnet_camvid",
    "espnetv2_0.5",
    "espnetv2_language",
    "espnetv2_segmentation_voc_0.5_256",
    "mobilenet_v1_0.25_128",
    "mobilenet_v2_0.35_96",
    "mobilenet_v2_lraspp_0.35_513x1025",
    "mobilenet_v2_ssdlite_0.35",
    "mobilenet_v3_large_96",
    "mobilenet_v3_small_96",
    "mobilenet_v3_small_ssdlite_nms",
    "nasnet_mobile",
    "shufflenet_g1_0.25",
    "shufflenet_g8_0.25",
    "squeezenet_1.1",
    "squeezenet_complex_bypass",
)
