"""3x3 convolutions by Winograd's algorithm: right, offered where it fits, taken where faster."""

import random
from pathlib import Path

import numpy as np
import pytest
import torch
import tvm
from torch import nn
from tvm import relay

from edgetvm.measurement import relative_error
from edgetvm.models.network import Network
from edgetvm.stages.build.definitions import define_workload
from edgetvm.stages.build.library import build_tuned
from edgetvm.stages.build.network_forms import NetworkForms
from edgetvm.stages.build.records import record_line
from edgetvm.stages.build.tasks import extract_tasks
from edgetvm.stages.device.session import Address
from edgetvm.stages.export.optimise import fuse_for_auto_scheduler
from edgetvm.stages.export.relay_import import import_network
from edgetvm.stages.export.winograd_operators import transformed_weight
from edgetvm.stages.host_target import detect_host_profile
from edgetvm.stages.tune.cost_model import CostModel
from edgetvm.stages.tune.register_tiling import tiled_states
from edgetvm.stages.tune.search import TaskSearch
from edgetvm.stages.verify.verification import Verifier
from tests.candidates import draw_laid_out, run_library, wrap


class Residual(nn.Module):
    """A convolution whose data are used a second time in the function that it is fused into."""

    def __init__(self) -> None:
        super().__init__()
        self.conv = nn.Conv2d(16, 16, 3, padding=1)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """Add the input to the convolution's output."""
        return nn.functional.relu(self.conv(x) + x)


def conv(inputs: int = 16, outputs: int = 24, kernel: int = 3, **options: int) -> nn.Module:
    return nn.Sequential(nn.Conv2d(inputs, outputs, kernel, **{"padding": 1, **options}), nn.ReLU())


FITTING = {
    "whole tiles": (conv(), (1, 16, 8, 12)),
    "tiles cut off": (conv(), (1, 16, 13, 9)),
    "no padding": (conv(padding=0), (1, 16, 11, 11)),
    "wide padding": (conv(padding=2), (1, 16, 7, 7)),
    "a batch": (conv(inputs=8), (3, 8, 8, 8)),
    "data used twice": (Residual(), (1, 16, 9, 9)),
    "no activation": (nn.Conv2d(32, 8, 3, padding=1), (1, 32, 6, 6)),
}
OTHERS = {
    "stride": conv(stride=2),
    "dilation": conv(dilation=2),
    "groups": conv(groups=2),
    "window": conv(kernel=5),
    "channels in": conv(inputs=12),
    "channels out": conv(outputs=12),
}


def forms_of(network: Network, threads: int = 1) -> NetworkForms:
    profile = detect_host_profile()
    target = tvm.target.Target(profile.tvm_target)
    return NetworkForms(fuse_for_auto_scheduler(import_network(network), target), profile, threads)


def by_winograd(forms: NetworkForms) -> dict[str, float]:
    """Best times that make Winograd's form the fastest."""
    return {task.workload_key: 1.0 if task.count else 0.1 for task in forms.tasks}


@pytest.mark.slow
@pytest.mark.parametrize("seed", range(2))
@pytest.mark.parametrize("kind", FITTING)
def test_it_computes_what_pytorch_does(kind: str, seed: int, tmp_path: Path) -> None:
    network, profile = wrap(*FITTING[kind]), detect_host_profile()
    forms = forms_of(network)
    form = forms.fastest(by_winograd(forms))
    assert [task.name.split()[0] for task in form.tasks] == [
        "winograd_tiles",
        "winograd_products",
        "winograd_pixels",
    ]
    records = [draw_laid_out(task, seed) for task in form.tasks] if seed else []
    library = tmp_path / "library.so"
    target = tvm.target.Target(profile.tvm_target)
    build_tuned(form.fused, target, profile.link_triple, library, records)
    (expected,) = network.reference_outputs(network.golden_input())
    assert relative_error(run_library(library, network)[0], expected) < 2e-5


def test_fusing_anew_finds_the_same_tasks() -> None:
    # As happens once the weights have their layouts; a record is found by the names of parameters.
    forms = forms_of(wrap(*FITTING["data used twice"]))
    form = forms.fastest(by_winograd(forms))
    anew = relay.transform.FuseOps()(relay.transform.DefuseOps()(form.fused))
    tasks = extract_tasks(relay.transform.InferType()(anew), detect_host_profile(), threads=1)
    assert [t.workload_key for t in tasks] == [t.workload_key for t in form.tasks]


@pytest.mark.parametrize("kind", OTHERS)
def test_other_convolutions_have_one_form(kind: str) -> None:
    module = OTHERS[kind]
    channels = next(module.parameters()).shape[1] * (2 if kind == "groups" else 1)
    forms = forms_of(wrap(module, (1, channels, 12, 12)))
    assert len(forms.tasks) == len(forms.direct.tasks) == 1
    assert forms.fastest(by_winograd(forms)) is forms.direct


def test_the_records_decide() -> None:
    forms = forms_of(wrap(nn.Sequential(conv(), conv(24, 24), conv(24, 24)), (1, 16, 12, 12)))
    counts = {task.workload_key: task.count for task in forms.direct.tasks}
    first, twice = counts
    assert (counts[first], counts[twice]) == (1, 2)
    best = by_winograd(forms)
    del best[twice]  # a form without a record is not taken
    uses = forms.uses(best)
    assert uses[first] == uses[twice] == 0
    # Both share the transform back, of 24 channels.
    assert sorted(uses[t.workload_key] for t in forms.tasks if not t.count) == [1, 1, 2, 2, 3]
    best[first] = 0.2  # faster than the three together
    uses = forms.uses(best)
    assert (uses[first], uses[twice]) == (1, 0)
    assert {t.workload_key: t.count for t in forms.fastest(best).tasks} == {
        key: count for key, count in uses.items() if count
    }
    assert forms.fastest({}) is forms.direct


def test_the_weight_transform_is_the_papers() -> None:
    weight = np.random.default_rng(0).standard_normal((3, 3, 3, 24)).astype(np.float32)
    transformed = transformed_weight(weight)
    assert transformed.shape == (36, 3, 3, 8)
    by_place = transformed.transpose(0, 2, 1, 3).reshape(6, 6, 3, 24)
    # At the points 0 and infinity the transform leaves the weight as it is, but for a factor.
    np.testing.assert_allclose(by_place[0, 0], weight[0, 0] / 16, rtol=1e-6)
    np.testing.assert_allclose(by_place[5, 5], weight[2, 2], rtol=1e-6)


def test_transforms_have_nothing_to_search(tmp_path: Path) -> None:
    forms = forms_of(wrap(*FITTING["whole tiles"]), threads=2)
    model = CostModel(tmp_path / "model.ubj", None, threads=1, seed=0)
    for task in forms.tasks:
        if task.name.startswith(("winograd_tiles", "winograd_pixels")):
            search = TaskSearch(task, model, [], seed=0)
            laid_out = len(list(tiled_states(task.search_task)))
            assert len(search.propose(64)) == laid_out > 1
            assert search.propose(64) == []


@pytest.mark.slow
def test_their_records_verify(device: Address) -> None:
    profile = detect_host_profile()
    forms = forms_of(wrap(*FITTING["tiles cut off"]))
    groups = []
    for task in forms.tasks:
        line = record_line(draw_laid_out(task, random.randrange(9)))
        groups.append((define_workload(task), [line]))
    with Verifier(device, 1, profile.tvm_target, workers=2) as verifier:
        verdicts = list(verifier.verify(groups))
    assert len(verdicts) == 4
    assert all(verdict.is_right for verdict in verdicts), verdicts
