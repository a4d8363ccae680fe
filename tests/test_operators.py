"""Each kind of layer: through both forms of the network, with random schedules, and right."""

from pathlib import Path

import pytest
import tvm

from edgetvm.measurement import relative_error
from edgetvm.models.network import Network
from edgetvm.stages.build.library import build_untuned
from edgetvm.stages.export.relay_import import import_network
from edgetvm.stages.host_target import detect_host_profile
from tests.candidates import check_candidates, draw_laid_out, run_library, wrap
from tests.operator_networks import NETWORKS


def network_of(kind: str) -> Network:
    make, shape = NETWORKS[kind]
    return wrap(make(), shape)


@pytest.mark.slow
@pytest.mark.parametrize("kind", NETWORKS)
def test_tvms_own_schedules_are_right(kind: str, tmp_path: Path) -> None:
    network, profile = network_of(kind), detect_host_profile()
    reference = network.reference_outputs(network.golden_input())
    library = tmp_path / "untuned.so"
    relay_json = tvm.ir.save_json(import_network(network))
    build_untuned(relay_json, profile.tvm_target, profile.link_triple, library)
    assert max(map(relative_error, run_library(library, network), reference)) < 1e-5


@pytest.mark.slow
@pytest.mark.parametrize("kind", NETWORKS)
def test_random_schedules_are_valid_and_right(kind: str, tmp_path: Path) -> None:
    assert check_candidates(network_of(kind), tmp_path)


@pytest.mark.slow
@pytest.mark.parametrize("kind", NETWORKS)
def test_laid_out_schedules_are_valid_and_right(kind: str, tmp_path: Path) -> None:
    assert check_candidates(network_of(kind), tmp_path, draw_laid_out)


@pytest.mark.slow
@pytest.mark.parametrize(
    "kind", ["dilated and PReLU", "hard-swish", "grouped", "depthwise with a multiplier"]
)
def test_what_follows_a_convolution_is_fused_into_it(kind: str, tmp_path: Path) -> None:
    assert len(check_candidates(network_of(kind), tmp_path)) == 1
