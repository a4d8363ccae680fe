"""compress as a user runs it: a file for --weights, its sizes, and what is refused."""

from pathlib import Path

import pytest
import torch

from edgetvm.compress import compress
from edgetvm.models.deep_compression import unpack
from edgetvm.models.resolve import resolve_network
from tests.conftest import ROOT, Invoke
from tests.tiny_network import build

RECIPE = """
title = "Tiny"
paper = "0000.00000"
factory = "tests.tiny_network:build"
input_shape = [1, 3, 32, 32]

[models.tiny]
title = "Tiny network"
"""


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A project of one recipe, made the working directory."""
    (tmp_path / "compile").mkdir()
    (tmp_path / "compile" / "tiny.toml").write_text(RECIPE)
    monkeypatch.setenv("EDGETVM_ROOT", str(tmp_path))
    monkeypatch.syspath_prepend(str(ROOT))
    monkeypatch.chdir(tmp_path)
    return tmp_path


def test_random_weights_are_compressed_and_said_to_be_random(folder: Path, invoke: Invoke) -> None:
    outcome = invoke(compress, "tiny")
    assert outcome.exit_code == 0, outcome.stderr
    assert "Tiny network, weights: random, of the recipe's seed 0" in outcome.stdout
    assert "density:   0.33, 6 bits" in outcome.stdout
    content = (folder / "tiny.dcz").read_bytes()
    plain = sum(tensor.nbytes for tensor in build().state_dict().values())
    assert f"float32:   {plain:,} bytes" in outcome.stdout
    assert f"packed:    {len(content):,} bytes (indices " in outcome.stdout
    assert f"ratio:     {plain / len(content):.1f}" in outcome.stdout
    assert "next: python -m edgetvm.tune tiny --target host --weights tiny.dcz" in outcome.stderr
    assert sorted(path.name for path in folder.iterdir()) == ["compile", "tiny.dcz"]


def test_a_checkpoint_is_compressed_and_loads_as_weights(folder: Path, invoke: Invoke) -> None:
    torch.manual_seed(3)
    state = build().state_dict()
    torch.save(state, folder / "net.pth")
    output = folder / "deep" / "net.dcz"
    outcome = invoke(
        *(compress, "tiny", "--weights", "net.pth", "--density", "0.5", "--bits", "8"),
        *("--output", str(output)),
    )
    assert outcome.exit_code == 0, outcome.stderr
    assert "Tiny network, weights: net.pth" in outcome.stdout
    packed = unpack(output.read_bytes())
    assert packed["stem.0.weight"].count_nonzero() == state["stem.0.weight"].numel() // 2
    network = resolve_network("tiny", folder / "compile", weights=output)
    assert network.module is not None
    loaded = network.module.state_dict()
    assert all(torch.equal(loaded[key], packed[key]) for key in packed)


def test_the_difference_that_compression_makes_is_that_of_the_outputs(
    folder: Path, invoke: Invoke
) -> None:
    torch.save(build().state_dict(), folder / "net.pth")
    said = invoke(compress, "tiny", "--weights", "net.pth", "--density", "0.2").stdout
    data = resolve_network("tiny", folder / "compile", weights=Path("net.pth")).golden_input()
    before, after = (
        resolve_network("tiny", folder / "compile", weights=Path(name)).reference_outputs(data)[0]
        for name in ("net.pth", "tiny.dcz")
    )
    difference = abs(after - before).max() / abs(before).max()
    assert difference > 0.01
    assert f"output:    differs by {difference:.1e} (relative)" in said
    again = invoke(
        *(compress, "tiny", "--weights", "tiny.dcz", "--density", "0.2", "--output", "2.dcz")
    )
    assert "output:    differs by 0.0e+00" in again.stdout


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["tny"], "did you mean tiny?"),
        (["net.onnx"], "net.onnx is not the name of a recipe"),
        (["tests.tiny_network:build"], "tests.tiny_network:build is not the name of a recipe"),
        (["tiny", "--density", "0"], "0.0 is not in the range 0<x<=1"),
        (["tiny", "--density", "nan"], "density must be above 0 and at most 1, not nan"),
        (["tiny", "--bits", "9"], "9 is not in the range 1<=x<=8"),
        (["tiny", "--weights", "absent.pth"], "absent.pth: there is no such checkpoint file"),
        (["tiny", "--weights", "a.pth", "--weights-from", "timm"], "no weights from 'timm'"),
        (["tiny", "--weights-from", "timm"], "give --weights FILE"),
        (["tiny", "--output", "net.pth"], "--output net.pth must end in .dcz"),
        (["tiny", "--weights", "a.dcz", "--output", "./a.dcz"], "is the file of --weights"),
        (["tiny", "--output", "/proc/none/net.dcz"], "/proc/none/net.dcz cannot be written"),
        ([], "Missing argument 'MODEL'"),
    ],
)
def test_a_wrong_argument_ends_in_one_sentence(
    folder: Path, invoke: Invoke, arguments: list[str], said: str
) -> None:
    outcome = invoke(compress, *arguments)
    assert outcome.exit_code == 2
    assert said in outcome.error
    assert outcome.stdout == ""
    assert [path.name for path in folder.iterdir()] == ["compile"]


def test_a_damaged_file_is_refused_as_weights(folder: Path, invoke: Invoke) -> None:
    assert invoke(compress, "tiny").exit_code == 0
    content = (folder / "tiny.dcz").read_bytes()
    (folder / "cut.dcz").write_bytes(content[:-1])
    outcome = invoke(compress, "tiny", "--weights", "cut.dcz")
    assert outcome.exit_code == 2
    assert "cut.dcz cannot be read as a checkpoint (the compressed weights are" in outcome.error
    assert "their checksum is wrong)" in outcome.error
    assert (folder / "tiny.dcz").read_bytes() == content
