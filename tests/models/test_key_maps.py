"""Public checkpoints load: keys and shapes as listed in tests/data/state_dicts."""

from collections.abc import Mapping
from pathlib import Path
from textwrap import dedent
from typing import Any

import pytest
import torch
from torch import nn

from edgetvm.errors import UsageError
from edgetvm.models.factory import build_module
from edgetvm.models.key_map import KeyMap, load_key_map
from edgetvm.models.weights import initialise
from edgetvm.recipe import WeightsFrom, load_recipe

ROOT = Path(__file__).parents[2]
RECIPES = ROOT / "compile"
LISTINGS = ROOT / "tests/data/state_dicts"

# Listing: our model, and the source of weights in its recipe or below.
PUBLIC = {
    "edgenets_espnetv2_s_1.0": ("espnetv2", "edgenets"),
    "edgenets_espnetv2_s_2.0": ("espnetv2_2.0", "edgenets"),
    "edgenets_espnetv2_seg_s_0.5_city": ("espnetv2_segmentation_0.5", "edgenets"),
    "edgenets_espnetv2_seg_s_2.0_pascal": ("espnetv2_segmentation_voc_2.0", "edgenets"),
    "edgenets_espnetv2_ssd_s_2.0_coco": ("espnetv2_ssd", "edgenets"),
    "espnet_encoder_p2_q8": ("espnet_c", "espnet"),
    "espnet_p2_q8": ("espnet", "espnet"),
    "megvii_shufflenet_g3_0.5x": ("shufflenet_g3_0.5", "megvii"),
    "megvii_shufflenet_g3_1.0x": ("shufflenet_g3", "megvii"),
    "megvii_shufflenet_g3_1.5x": ("shufflenet_g3_1.5", "megvii"),
    "megvii_shufflenet_g3_2.0x": ("shufflenet_g3_2.0", "megvii"),
    "megvii_shufflenet_g8_1.0x": ("shufflenet_g8", "megvii"),
    "pytorchcv_mobilenet_w1": ("mobilenet_v1", "pytorchcv"),
    "pytorchcv_mobilenet_w3d4": ("mobilenet_v1_0.75", "pytorchcv"),
    "pytorchcv_shufflenet_g1_w1": ("shufflenet_g1", "pytorchcv"),
    "pytorchcv_shufflenet_g2_w1": ("shufflenet_g2", "pytorchcv"),
    "pytorchcv_shufflenet_g3_w1": ("shufflenet_g3", "pytorchcv"),
    "pytorchcv_shufflenet_g3_wd2": ("shufflenet_g3_0.5", "pytorchcv"),
    "pytorchcv_shufflenet_g3_wd4": ("shufflenet_g3_0.25", "pytorchcv"),
    "pytorchcv_shufflenet_g4_w1": ("shufflenet_g4", "pytorchcv"),
    "pytorchcv_shufflenet_g8_w1": ("shufflenet_g8", "pytorchcv"),
    "pytorchcv_squeezenet_v1_0": ("squeezenet", "pytorchcv"),
    "pytorchcv_squeezenet_v1_1": ("squeezenet_1.1", "pytorchcv"),
    "pytorchcv_squeezeresnet_v1_0": ("squeezenet_simple_bypass", "pytorchcv"),
    "semseg_pspnet101_city": ("pspnet_101", "semseg"),
    "timm_efficientnet_b0": ("efficientnet_b0", "timm"),
    "timm_mobilenetv1_100": ("mobilenet_v1", "timm"),
    "timm_mobilenetv2_050": ("mobilenet_v2_0.5", "timm"),
    "timm_mobilenetv2_100": ("mobilenet_v2", "timm"),
    "timm_mobilenetv2_140": ("mobilenet_v2_1.4", "timm"),
    "timm_mobilenetv3_large_100": ("mobilenet_v3_large", "timm"),
    "timm_mobilenetv3_small_050": ("mobilenet_v3_small_0.5", "timm"),
    "timm_mobilenetv3_small_075": ("mobilenet_v3_small_0.75", "timm"),
    "timm_mobilenetv3_small_100": ("mobilenet_v3_small", "timm"),
    "timm_tf_efficientnet_b0": ("efficientnet_b0", "tf"),
    "timm_tf_efficientnet_b4": ("efficientnet_b4", "tf"),
    "timm_tf_mobilenetv3_large_075": ("mobilenet_v3_large_0.75", "tf"),
    "timm_tf_mobilenetv3_large_100": ("mobilenet_v3_large", "tf"),
    "timm_tf_mobilenetv3_large_minimal_100": ("mobilenet_v3_large_minimalistic", "tf"),
    "timm_tf_mobilenetv3_small_075": ("mobilenet_v3_small_0.75", "tf"),
    "timm_tf_mobilenetv3_small_100": ("mobilenet_v3_small", "tf"),
    "timm_tf_mobilenetv3_small_minimal_100": ("mobilenet_v3_small_minimalistic", "tf"),
    "torchvision_alexnet": ("alexnet_torchvision", "torchvision"),
    "torchvision_efficientnet_b0": ("efficientnet_b0", "torchvision"),
    "torchvision_efficientnet_b1": ("efficientnet_b1", "torchvision"),
    "torchvision_efficientnet_b2": ("efficientnet_b2", "torchvision"),
    "torchvision_efficientnet_b3": ("efficientnet_b3", "torchvision"),
    "torchvision_efficientnet_b4": ("efficientnet_b4", "torchvision"),
    "torchvision_efficientnet_b5": ("efficientnet_b5", "torchvision"),
    "torchvision_efficientnet_b6": ("efficientnet_b6", "torchvision"),
    "torchvision_efficientnet_b7": ("efficientnet_b7", "torchvision"),
    "torchvision_lraspp_mobilenet_v3_large": (
        "mobilenet_v3_large_lraspp_torchvision",
        "torchvision",
    ),
    "torchvision_mobilenet_v2": ("mobilenet_v2", "torchvision"),
    "torchvision_mobilenet_v3_large": ("mobilenet_v3_large", "torchvision"),
    "torchvision_mobilenet_v3_small": ("mobilenet_v3_small", "torchvision"),
    "torchvision_resnet152": ("resnet_152", "torchvision"),
    "torchvision_squeezenet1_0": ("squeezenet", "torchvision"),
    "torchvision_squeezenet1_1": ("squeezenet_1.1", "torchvision"),
    "torchvision_ssdlite320_mobilenet_v3_large": (
        "mobilenet_v3_large_ssdlite_torchvision",
        "torchvision",
    ),
}


def read_listing(name: str) -> dict[str, torch.Tensor]:
    """Return the state dict that a listing describes, without values."""
    state = {}
    for line in (LISTINGS / f"{name}.txt").read_text().splitlines()[1:]:
        key, shape = line.split()
        sizes = [] if shape == "scalar" else [int(size) for size in shape.split("x")]
        state[key] = torch.empty(sizes, device="meta")
    return state


def weighty_shapes(state: Mapping[str, torch.Tensor]) -> dict[str, tuple[int, ...]]:
    return {
        key: tuple(value.shape)
        for key, value in state.items()
        if not key.endswith("num_batches_tracked")
    }


def public_source(listing: str) -> tuple[str, WeightsFrom]:
    model, source = PUBLIC[listing]
    return model, load_recipe(model, RECIPES).weights_from[source]


def our_state(weights_from: WeightsFrom, state: Mapping[str, Any]) -> Mapping[str, Any]:
    return load_key_map(weights_from.key_map).apply(state) if weights_from.key_map else state


def our_network(model: str, weights_from: WeightsFrom) -> nn.Module:
    recipe = load_recipe(model, RECIPES)
    return build_module(recipe.factory, {**recipe.options, **weights_from.options}, recipe.seed)


def test_every_listing_is_of_a_model() -> None:
    assert {path.stem for path in LISTINGS.glob("*.txt")} == set(PUBLIC)


@pytest.mark.parametrize("listing", PUBLIC)
def test_a_public_state_dict_has_our_keys_and_shapes(listing: str) -> None:
    model, weights_from = public_source(listing)
    with torch.device("meta"):
        network = our_network(model, weights_from)
    state = our_state(weights_from, read_listing(listing))
    assert weighty_shapes(state) == weighty_shapes(network.state_dict())


@pytest.mark.parametrize("listing", ["timm_tf_mobilenetv3_small_100", "megvii_shufflenet_g3_0.5x"])
def test_the_order_of_the_keys_does_not_matter(listing: str) -> None:
    """The .safetensors format does not keep it."""
    _, weights_from = public_source(listing)
    state = read_listing(listing)
    expected = weighty_shapes(our_state(weights_from, state))
    assert weighty_shapes(our_state(weights_from, dict(sorted(state.items())))) == expected


class MegviiShuffleNet(nn.Module):
    """megvii-model/ShuffleNet-Series: what it computes, and in which order."""

    def __init__(self, groups: int, widths: tuple[int, int, int, int]) -> None:
        super().__init__()
        stem, *stages = widths
        self.first_conv = nn.Sequential(
            nn.Conv2d(3, stem, 3, 2, 1, bias=False), nn.BatchNorm2d(stem), nn.ReLU()
        )
        self.pool = nn.MaxPool2d(3, 2, 1)
        self.features = nn.Sequential()
        channels = stem
        for width, repeats in zip(stages, (4, 8, 4), strict=True):
            for _ in range(repeats):
                self.features.append(
                    MegviiUnit(channels, width, groups, 1 if channels == stem else groups)
                )
                channels = width
        self.classifier = nn.Sequential(nn.Linear(channels, 1000, bias=False))

    def forward(self, images: torch.Tensor) -> torch.Tensor:
        features = self.features(self.pool(self.first_conv(images)))
        return self.classifier(features.mean(dim=(2, 3)))


class MegviiUnit(nn.Module):
    def __init__(self, channels: int, width: int, groups: int, first_groups: int) -> None:
        super().__init__()
        self.halves = channels != width
        self.groups = groups
        inner, stride = width // 4, 2 if self.halves else 1
        residual = width - channels if self.halves else width
        self.branch_main_1 = nn.Sequential(
            nn.Conv2d(channels, inner, 1, groups=first_groups, bias=False),
            nn.BatchNorm2d(inner),
            nn.ReLU(),
            nn.Conv2d(inner, inner, 3, stride, 1, groups=inner, bias=False),
            nn.BatchNorm2d(inner),
        )
        self.branch_main_2 = nn.Sequential(
            nn.Conv2d(inner, residual, 1, groups=groups, bias=False), nn.BatchNorm2d(residual)
        )

    def forward(self, features: torch.Tensor) -> torch.Tensor:
        residual = self.branch_main_1(features)
        # Channel c goes to group c mod g.
        order = [
            channel
            for group in range(self.groups)
            for channel in range(group, residual.shape[1], self.groups)
        ]
        residual = self.branch_main_2(residual[:, order])
        if not self.halves:
            return torch.relu(features + residual)
        shortcut = nn.functional.avg_pool2d(features, 3, 2, 1)
        return torch.cat([shortcut, torch.relu(residual)], dim=1)


@pytest.mark.parametrize(("groups", "widths"), [(3, (12, 120, 240, 480)), (8, (16, 192, 384, 768))])
def test_shuffling_behind_the_depthwise_convolution_comes_to_the_same(
    groups: int, widths: tuple[int, int, int, int]
) -> None:
    torch.set_num_threads(1)
    theirs = MegviiShuffleNet(groups, widths)
    initialise(theirs, (2, 3, 64, 64), seed=0)
    model = f"shufflenet_g{groups}_0.5"
    weights_from = load_recipe(model, RECIPES).weights_from["megvii"]
    ours = our_network(model, weights_from).eval()
    ours.load_state_dict(our_state(weights_from, theirs.state_dict()))
    images = torch.randn(2, 3, 64, 64, generator=torch.Generator().manual_seed(1))
    with torch.no_grad():
        torch.testing.assert_close(ours(images), theirs(images), rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize(
    "state",
    [
        {"features.0.branch_main_1.3.weight": torch.ones(12, 1, 3, 3)},
        {
            "features.0.branch_main_1.3.weight": torch.ones(12, 1, 3, 3),
            "features.0.branch_main_2.0.weight": torch.ones(24, 5, 1, 1),
        },
    ],
)
def test_values_of_another_network_are_left_to_the_loader(state: dict[str, torch.Tensor]) -> None:
    renamed = load_key_map("megvii_shufflenet").apply(state)
    assert renamed["features.stage1.unit1.dw_conv2.weight"].shape == (12, 1, 3, 3)


def key_map_of(folder: Path, text: str) -> KeyMap:
    (folder / "planted.toml").write_text(dedent(text))
    return load_key_map("planted", folder)


def test_the_first_rule_that_holds_counts(tmp_path: Path) -> None:
    key_map = key_map_of(
        tmp_path,
        r"""
        drop = ['aux\..+']
        [[rule]]
        pattern = '(\w+)\.{part}\.bias'
        replace = '\1.{part}.shift'
        where = ['\1.extra']
        parts = { old = "new" }
        [[rule]]
        pattern = '(\w+)\.old\.bias'
        replace = '\1.kept.bias'
        """,
    )
    keys = ["a.old.bias", "a.extra", "b.old.bias", "aux.old.bias", "b.old.biased"]
    renamed = key_map.apply({key: torch.empty(0) for key in keys})
    assert list(renamed) == ["a.new.shift", "a.extra", "b.kept.bias", "b.old.biased"]


def test_blocks_are_numbered_through_as_numbers(tmp_path: Path) -> None:
    key_map = key_map_of(
        tmp_path,
        r"""
        [index]
        pattern = 's(\d+)\.u(\d+)\.'
        start = 3
        gap = 1
        [[rule]]
        pattern = 's\d+\.u\d+\.(\w+)'
        replace = '{index}.\1'
        """,
    )
    keys = ["s2.u0.w", "s10.u0.w", "s2.u10.w", "s2.u9.w", "head.w"]
    renamed = key_map.apply({key: torch.empty(0) for key in keys})
    assert list(renamed) == ["3.w", "7.w", "5.w", "4.w", "head.w"]


def test_two_keys_with_one_name_are_refused(tmp_path: Path) -> None:
    key_map = key_map_of(tmp_path, "[[rule]]\npattern = '[ab]'\nreplace = 'c'")
    with pytest.raises(UsageError, match="a and b both become c"):
        key_map.apply({"a": torch.empty(0), "b": torch.empty(0)})


def test_an_unknown_key_map_is_refused() -> None:
    with pytest.raises(UsageError, match=r"'timm_mobilenets'.*did you mean timm_mobilenet"):
        load_key_map("timm_mobilenets")


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ("", "missing required field `rule`"),
        ("[[rule]]\npattern = 'a'", "missing required field `replace`"),
        ("[[rule]]\npattern = 'a'\nreplace = 'b'\nflat = true", "unknown field `flat`"),
        ("[[rule]]\npattern = '('\nreplace = 'b'", r"'\(' is no regular expression"),
        ("drop = ['*']\nrule = []", r"'\*' is no regular expression"),
        ("rule = []\n[index]\npattern = '['", r"'\[' is no regular expression"),
    ],
)
def test_a_faulty_key_map_is_refused(tmp_path: Path, text: str, reason: str) -> None:
    with pytest.raises(UsageError, match=rf"planted\.toml.*{reason}"):
        key_map_of(tmp_path, text)
