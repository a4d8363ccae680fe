"""Whether what compiling needs works here: TVM, LLVM, the linker, the cost model's library.

TVM is imported only when it is asked after, so that one that does not load can be reported.
"""

import importlib.util
import tempfile
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

import numpy as np

from edgetvm.errors import CompileError, UsageError, one_line
from edgetvm.stages.build.linker import describe_library, link_library, linker_version

TVM_PACKAGE = "xtc-tvm-python-bindings"

_LLVM_NAMES = {"armv7l": "arm"}
"""LLVM's names of architectures where they are not the kernel's."""


def find_tvm() -> str:
    """Load TVM and return its version.

    Raises
    ------
    CompileError
        It does not load, or another one does than edgetvm's package of it.
    """
    try:
        import tvm
    except (ImportError, OSError, RuntimeError, AttributeError) as err:
        raise CompileError(
            f"TVM does not load ({one_line(err)}): pip install --force-reinstall {TVM_PACKAGE}"
        ) from err
    try:
        wanted = version(TVM_PACKAGE)
    except PackageNotFoundError:
        wanted = "missing"
    found = str(tvm.__version__)
    if not wanted.startswith(f"{found}."):
        raise CompileError(
            f"The TVM in {Path(tvm.__file__).parent} is {found}, the package {TVM_PACKAGE} is "
            f"{wanted}: take the other one from PYTHONPATH, or pip uninstall it."
        )
    return f"{found}, of {TVM_PACKAGE} {wanted}"


def find_llvm(arch: str) -> str:
    """Return LLVM's version and its targets.

    Raises
    ------
    UsageError
        TVM was loaded without LLVM.
    CompileError
        LLVM does not generate code for `arch`, named as ``uname -m`` does.
    """
    import tvm
    from tvm.target import codegen

    try:
        targets = [str(name) for name in codegen.llvm_get_targets()]
    except AttributeError as err:
        raise UsageError(
            "TVM found no LLVM, with which it compiles: pip install 'edgetvm[host]'."
        ) from err
    if _LLVM_NAMES.get(arch, arch) not in targets:
        raise CompileError(
            f"LLVM generates no code for {arch}, only for {', '.join(targets)}: choose another "
            "--target."
        )
    return f"{tvm.support.libinfo()['LLVM_VERSION']} with {', '.join(targets)}"


def try_linker(link_triple: str, arch: str) -> str:
    """Link a trivial shared library and return the linker's version.

    Raises
    ------
    UsageError
        The linker is not installed.
    CompileError
        It fails, or links for another architecture than `arch`.
    """
    if importlib.util.find_spec("ziglang") is None:
        raise UsageError("The linker ziglang is not installed: pip install 'edgetvm[host]'.")
    with tempfile.TemporaryDirectory() as folder:
        source, library = Path(folder) / "probe.c", Path(folder) / "probe.so"
        source.write_text("float twice(float x) { return x + x; }\n")
        try:
            link_library([source], library, link_triple)
        except OSError as err:
            raise CompileError(
                f"The linker does not start ({err.strerror}): pip install --force-reinstall ziglang"
            ) from err
        linked = describe_library(library)
    if linked.arch != arch:
        raise CompileError(
            f"The link_triple {link_triple} gives {linked.arch} code, the target is {arch}: "
            "correct one of them in its profile."
        )
    return f"{linker_version()} links for {link_triple}"


def try_xgboost() -> str:
    """Train a tiny model, save it, load it again, and return the library's version.

    Raises
    ------
    CompileError
        One of these fails, or the loaded model predicts something else.
    """
    remedy = "pip install --force-reinstall xgboost-cpu"
    try:
        import xgboost

        values = np.arange(64, dtype=np.float32).reshape(-1, 1)
        data = xgboost.DMatrix(values, label=values[:, 0])
        trained = xgboost.train({"nthread": 1}, data, num_boost_round=4)
        loaded = xgboost.Booster(model_file=trained.save_raw("ubj"))
    except (ImportError, OSError, ValueError) as err:
        raise CompileError(f"xgboost does not work ({one_line(err)}): {remedy}") from err
    if not np.array_equal(trained.predict(data), loaded.predict(data)):
        raise CompileError(f"xgboost loads another model than it saved: {remedy}")
    return f"{xgboost.__version__} trains, and loads what it saved"
