"""LLVM IR of one function as text, in blocks and instructions."""

import re
from dataclasses import dataclass

NAME = r'%(?:"[^"]+"|[-\w.$]+)'

_LABEL = re.compile(r'^("[^"]+"|[-\w.$]+):')
_PARAMETER = re.compile(rf"ptr [^,%]*({NAME})")


@dataclass(frozen=True)
class Block:
    """A basic block: its instructions as text, the last one is what it ends with."""

    name: str
    instructions: tuple[str, ...]


@dataclass(frozen=True)
class Function:
    """A function: its pointer parameters, and its blocks by name, the first is the entry."""

    pointers: tuple[str, ...]
    blocks: dict[str, Block]


def parse_functions(module: str) -> dict[str, Function]:
    """Return the functions that `module` defines, by name."""
    functions = {}
    for text in re.findall(r"^define .*?^}$", module, re.MULTILINE | re.DOTALL):
        signature, _, body = text.partition("\n")
        found = re.search(r"@([\w.$]+)\(", signature)
        assert found
        functions[found[1]] = Function(tuple(_PARAMETER.findall(signature)), _blocks(body))
    return functions


def _blocks(body: str) -> dict[str, Block]:
    blocks: dict[str, Block] = {}
    name = "entry"
    lines: list[str] = []
    # A switch goes over several lines.
    for line in re.sub(r"\[\n\s*(.*?)\s*\]", _on_one_line, body, flags=re.DOTALL).splitlines():
        if label := _LABEL.match(line):
            if lines:
                blocks[name] = Block(name, tuple(lines))
            name, lines = label[1], []
        elif line.startswith("  "):
            lines.append(line.strip())
    blocks[name] = Block(name, tuple(lines))
    return blocks


def _on_one_line(found: re.Match[str]) -> str:
    return "[ " + " ".join(found[1].split()) + " ]"
