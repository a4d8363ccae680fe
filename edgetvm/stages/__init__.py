"""The stages export, tune, build and device: the only layer that imports TVM.

Two settings must be in the environment before TVM loads, so they are made here:

- ``TOPHUB_LOCATION=NONE``: else every export tries to download AutoTVM's schedules.
- ``TVM_USE_RUNTIME_LIB=1`` where LLVM is not installed: a board has the runtime alone.
"""

import importlib.util
import os

os.environ.setdefault("TOPHUB_LOCATION", "NONE")
if importlib.util.find_spec("llvm") is None:
    os.environ.setdefault("TVM_USE_RUNTIME_LIB", "1")
