"""The architecture holds: imports go down only, and TVM is imported by one layer."""

import ast
import subprocess
import sys
from pathlib import Path

import pytest

PACKAGE = Path(__file__).parent.parent / "edgetvm"

# From the bottom up. A module may import from its own line's modules and from the lines above.
LAYERS = (
    (
        "edgetvm",
        "errors",
        "files",
        "paths",
        "units",
        "arm_cpu",
        "host_cpu",
        "device_state",
        "access",
        "opencl_device",
        "revision",
        "device_info",
        "verdict",
        "checks",
        "host_checks",
    ),
    (
        "recipe",
        "target_profile",
        "golden",
        "latency_breakdown",
        "manifest",
        "measurement",
        "layer_profile",
        "modelled",
        "records",
    ),
    ("models", "paper"),
    ("stages",),
    (
        "cli",
        "tuning_display",
        "comparison_display",
        "records_display",
        "profile_display",
        "targets_display",
    ),
    (
        "tuning_options",
        "tuning_search",
        "tuning_build",
        "modelling",
        "tuning_run",
        "tune",
        "bundle_choice",
        "deployment",
        "deploy",
        "profiling",
        "profile",
        "targets",
        "doctor",
        "serve",
        "runtime",
        "board",
        "compare",
        "compress",
        "reporting",
        "report",
    ),
)
# Within the layer of the stages, in the order of the flow.
STAGES = (("export",), ("build", "host_target"), ("cycles",), ("device",), ("verify",), ("tune",))

MODULES = sorted(PACKAGE.rglob("*.py"))


def imported_modules(path: Path, *, for_types: bool = True) -> set[str]:
    tree = ast.parse(path.read_text())
    if not for_types:
        tree = _WithoutTypeChecking().visit(tree)
    names = set()
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            names |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{path}: relative import"
            names |= {f"{node.module}.{alias.name}" for alias in node.names}
    return names


class _WithoutTypeChecking(ast.NodeTransformer):
    def visit_If(self, node: ast.If) -> ast.AST | None:
        test = node.test
        return None if isinstance(test, ast.Name) and test.id == "TYPE_CHECKING" else node


def level(name: str, layers: tuple[tuple[str, ...], ...]) -> int:
    return next(index for index, layer in enumerate(layers) if name in layer)


def layer_of(dotted: str) -> int:
    parts = dotted.split(".")
    if parts[-1] == "__main__":  # a command that bears the name of a package
        return len(LAYERS) - 1
    return level(parts[1] if len(parts) > 1 and parts[1] != "__version__" else "edgetvm", LAYERS)


@pytest.mark.parametrize("path", MODULES, ids=lambda path: str(path.relative_to(PACKAGE)))
def test_imports_go_down_only(path: Path) -> None:
    own = ".".join(path.relative_to(PACKAGE.parent).with_suffix("").parts).removesuffix(".__init__")
    for name in imported_modules(path, for_types=False):
        if name.split(".")[0] == "edgetvm":
            assert layer_of(name) <= layer_of(own), f"{own} imports {name}"


@pytest.mark.parametrize("path", sorted((PACKAGE / "stages").rglob("*/*.py")), ids=str)
def test_a_stage_imports_earlier_stages_only(path: Path) -> None:
    own = level(path.parent.name, STAGES)
    for name in imported_modules(path):
        if name.startswith("edgetvm.stages."):
            assert level(name.split(".")[2], STAGES) <= own, f"{path.name} imports {name}"


@pytest.mark.parametrize("path", MODULES, ids=lambda path: str(path.relative_to(PACKAGE)))
def test_only_the_stages_import_tvm(path: Path) -> None:
    tvm = {name for name in imported_modules(path) if name.split(".")[0] == "tvm"}
    assert not tvm or path.is_relative_to(PACKAGE / "stages")


@pytest.mark.parametrize("path", MODULES, ids=lambda path: str(path.relative_to(PACKAGE)))
def test_only_the_models_and_the_import_into_relay_use_torch(path: Path) -> None:
    torch = {name for name in imported_modules(path) if name.split(".")[0] == "torch"}
    allowed = path.is_relative_to(PACKAGE / "models") or path.name == "relay_import.py"
    assert not torch or allowed


@pytest.mark.parametrize(
    "module",
    [
        "edgetvm",
        "edgetvm.records.__main__",
        *(
            f"edgetvm.{command}"
            for command in ("tune", "deploy", "serve", "board", "compress", "doctor")
        ),
        "edgetvm.__main__",
    ],
)
def test_importing_loads_neither_torch_nor_tvm(module: str) -> None:
    code = f"import {module}, sys; assert not {{'torch', 'tvm'}} & set(sys.modules)"
    subprocess.run([sys.executable, "-c", code], check=True, cwd=PACKAGE.parent)


@pytest.mark.parametrize("path", MODULES, ids=lambda path: str(path.relative_to(PACKAGE)))
def test_modules_stay_short(path: Path) -> None:
    assert len(path.read_text().splitlines()) <= 260
