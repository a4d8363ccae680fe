"""The LLVM IR of a whole network, in one module a kernel."""

import re

from edgetvm.stages.cycles.kernel_code import LAMBDA

_DEFINITION = re.compile(r"^define [^@\n]*@([\w.]+)\(.*?^}\n", re.MULTILINE | re.DOTALL)
_HEAD = re.compile(r"^(?:target|declare|@) ?.*$", re.MULTILINE)
_CALLED = re.compile(rf"@({LAMBDA}[\w.]*)")
_LOOPS = "_compute_"


def split_kernels(code: str) -> dict[str, str]:
    """Return each kernel of a network's LLVM module as a module, by the name of its function.

    With a kernel go its parallel loops, which have functions of their own.
    """
    bodies = {found[1]: found[0] for found in _DEFINITION.finditer(code)}
    head = "\n".join(_HEAD.findall(code))
    return {
        name.removesuffix(_LOOPS): "\n".join(
            [head, body, *(bodies[one] for one in dict.fromkeys(_CALLED.findall(body)))]
        )
        for name, body in bodies.items()
        if name.endswith(_LOOPS)
    }
