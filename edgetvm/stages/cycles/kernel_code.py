"""The LLVM IR of kernels, as TVM generates it, in one module without all but their loops."""

import re
from collections.abc import Iterable

from edgetvm.errors import CompileError

LAMBDA = "__tvm_parallel_lambda"
"""How the names of parallel loops' functions begin."""

_LOOPS = rf"@(\w+_compute_|{LAMBDA})"
_BODY = re.compile(rf"^define [^@\n]*{_LOOPS}[\w.]*\(.*?^}}\n", re.MULTILINE | re.DOTALL)
_NOTES = re.compile(r"^ *#dbg_.*\n|,? ![a-z][\w.]* ![\w()]+| #\d+", re.MULTILINE)
_CLOSURE = re.compile(r"%closure_[\w.]+(?=,)")
_SYMBOL = re.compile(r"@[\w.$]+")


def combine(modules: Iterable[str]) -> str:
    """Return one LLVM module with the loops of many; the first's names begin with ``kernel_0.``.

    What checks arguments is left out, and so are debug information and hints for the optimiser,
    which ran already.

    Raises
    ------
    CompileError
        A text holds no kernel.
    """
    head: list[str] = []
    declared: dict[str, str] = {}
    bodies = []
    for place, text in enumerate(modules):
        own = _CLOSURE.sub(
            "[64 x ptr]", "".join(_NOTES.sub("", f[0]) for f in _BODY.finditer(text))
        )
        if not own:
            raise CompileError("The code has no function with the loops of a kernel.")
        own = re.sub(_LOOPS, rf"@kernel_{place}.\1", own)
        own = re.sub(r"^define (?:internal|private) (.*) {$", r"define \1 #0 {", own, flags=re.M)
        bodies.append(own)
        for symbol in dict.fromkeys(_SYMBOL.findall(own)):
            if not symbol.startswith("@kernel_") and symbol not in declared:
                declared[symbol] = _declaration(symbol, text)
        head = head or [line for line in text.splitlines() if line.startswith("target ")]
    return "\n".join([*head, *declared.values(), *bodies, "attributes #0 = { nounwind }", ""])


def _declaration(symbol: str, text: str) -> str:
    """Return what declares a function or a variable that a kernel refers to."""
    place = re.search(rf"^declare [^@]*{re.escape(symbol)}\(.*", text, re.MULTILINE)
    if place is None:
        return f"{symbol} = external global ptr"
    return _NOTES.sub("", place[0])
