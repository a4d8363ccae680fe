"""What a kernel does, block by block: how often it runs, and which memory it touches."""

import re
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from edgetvm.stages.cycles.integer_values import Address, Value, Values, size_bytes
from edgetvm.stages.cycles.ir_function import NAME, Block, Function
from edgetvm.stages.cycles.loops import Loop

RANDOM = 512
"""Iterations at random, from which follows how often a condition holds."""

PAIRED = 16
"""Iterations that are looked at again with one loop a step further, for each loop."""

_BLOCK = r'%("[^"]+"|[-\w.$]+)'
_PHI = re.compile(rf"^({NAME}) = phi (?:i\d+|ptr) (.*)$")
_INCOMING = re.compile(rf"\[ (\S+), {_BLOCK} \]")
_TARGET = re.compile(rf"label {_BLOCK}")
_LOAD = re.compile(rf"^{NAME} = load (<[^>]*>|\S+), ptr ([^,]+)")
_STORE = re.compile(r"^store (<\d+ x \w+>|\w+) .*, ptr ([^,]+)")
_MASKED = re.compile(r"@llvm\.masked\.(?:load|store)\.v(\d+)\w+\.p0\(.*?ptr (?:align \d+ )?([^,]+)")
_COPIED = re.compile(r"@llvm\.mem(?:cpy|move)\.\S+\(ptr .*?([%@]\S+), ptr .*?([%@]\S+), i64 (\d+),")
_SET = re.compile(r"@llvm\.memset\.\S+\(ptr .*?([%@]\S+), i8 \S+, i64 (\d+),")

Flags = NDArray[np.bool_]


@dataclass(frozen=True)
class Access:
    """A load or a store: its object, first offset in bytes, strides by loop header, and size."""

    base: str
    offset: int
    strides: dict[str, int]
    size_bytes: int


@dataclass(frozen=True)
class BlockRuns:
    """How often a block runs, in how large a part of its loops' iterations, and its accesses."""

    count: float
    share: float
    accesses: tuple[Access, ...]


def execute(function: Function, loops: list[Loop], threads: int) -> dict[str, BlockRuns]:
    """Return what each block of a kernel does, in the order of the flow of control."""
    return _Execution(function, loops, threads).run()


class _Execution:
    """A kernel's integers at `RANDOM` iterations, at the first one, and at pairs of neighbours."""

    def __init__(self, function: Function, loops: list[Loop], threads: int) -> None:
        self._function = function
        self._loops = {loop.header: loop for loop in loops}
        self._around = {
            name: [loop for loop in loops if name in loop.blocks] for name in function.blocks
        }
        self._iterations = _iterations(loops)
        samples = RANDOM + 1 + PAIRED * len(loops)
        self._values = Values(function.pointers, samples)
        for name, value in (("%task_id", 0), ("%num_task", threads)):
            self._values.known[name] = np.full(samples, value, np.int64)
        self._reached = {name: np.zeros(samples, bool) for name in function.blocks}
        self._edges: dict[tuple[str, str], Flags] = {}
        self._random = np.random.default_rng(1)
        self._assigned = {
            line.partition(" = ")[0]: line
            for block in function.blocks.values()
            for line in block.instructions
        }

    def run(self) -> dict[str, BlockRuns]:
        order = self._order()
        self._reached[order[0]][:] = True
        return {name: self._run_block(self._function.blocks[name]) for name in order}

    def _run_block(self, block: Block) -> BlockRuns:
        accesses = []
        for line in block.instructions:
            if phi := _PHI.match(line):
                value = self._joined(block.name, phi[1], _INCOMING.findall(phi[2]))
                if value is not None:
                    self._values.known[phi[1]] = value
            else:
                self._values.compute(line)
                accesses += self._accesses(block.name, line)
        self._leave(block)
        share = float(self._reached[block.name][:RANDOM].mean())
        trips = [loop.trips for loop in self._around[block.name]]
        return BlockRuns(share * float(np.prod(trips)), share, tuple(accesses))

    def _order(self) -> list[str]:
        """Return the reachable blocks, each after those that lead to it, but for loops' ends."""
        blocks = self._function.blocks
        first = next(iter(blocks))
        seen, order = {first}, []
        path = [(first, iter(_TARGET.findall(blocks[first].instructions[-1])))]
        while path:
            name, targets = path[-1]
            target = next((one for one in targets if one not in seen), None)
            if target is None:
                order.append(name)
                path.pop()
            else:
                seen.add(target)
                path.append((target, iter(_TARGET.findall(blocks[target].instructions[-1]))))
        return order[::-1]

    def _joined(self, name: str, assigned: str, incoming: list[tuple[str, str]]) -> Value | None:
        loop = self._loops.get(name)
        if loop is None:
            return self._merged(name, incoming)
        starts = [value for value, source in incoming if source not in loop.blocks]
        nexts = [value for value, source in incoming if source in loop.blocks]
        start, step = self._values.of(starts[0]), self._step(assigned, nexts[0])
        iteration = self._iterations[name]
        if start is None or step is None:
            # Of a loop that runs twice LLVM writes down the second value.
            second = self._values.of(nexts[0]) if nexts[0][0] != "%" else None
            if start is None or second is None:
                return None
            return self._values.merged(start, second, iteration > 0)
        if isinstance(start, Address):
            return Address(start.base, start.offset + step * iteration)
        moved: Value = start + step * iteration
        return moved

    def _step(self, assigned: str, following: str) -> int | None:
        """Return what a loop's variable grows by, from the instruction that assigns the next."""
        line, same = self._assigned.get(following, ""), re.escape(assigned)
        if added := re.match(rf"^{NAME} = (?:add|or) .*?i\d+ {same}, (-?\d+)$", line):
            return int(added[1])
        moved = re.match(
            rf"^{NAME} = getelementptr (?:\w+ )*?(\w+|<.*?>|\[.*\]), ptr {same}, i\d+ (-?\d+)$",
            line,
        )
        return int(moved[2]) * size_bytes(moved[1]) if moved else None

    def _merged(self, name: str, incoming: list[tuple[str, str]]) -> Value | None:
        merged: Value | None = None
        for text, source in incoming:
            value, taken = self._values.of(text), self._edges.get((source, name))
            if merged is None or value is None or taken is None:
                merged = value if merged is None else merged
            else:
                merged = self._values.merged(merged, value, taken)
        return merged

    def _leave(self, block: Block) -> None:
        """Note which samples reach each block that `block` leads to."""
        targets = _TARGET.findall(block.instructions[-1])
        for target, flow in zip(targets, self._flows(block, targets), strict=True):
            if self._is_repeat(block.name, target):
                continue
            self._edges[block.name, target] = flow
            self._reached[target] = self._reached[target] | flow

    def _flows(self, block: Block, targets: list[str]) -> list[Flags]:
        """Return which samples go to each of `targets`."""
        here = self._reached[block.name]
        condition = re.match(r"br i1 (\S+),", block.instructions[-1])
        around = self._around[block.name]
        ends = [one for one in targets if any(one not in loop.blocks for loop in around)]
        if not condition or ends or any(self._is_repeat(block.name, one) for one in targets):
            return [self._flow_to(one, here, around) for one in targets]
        value = self._values.of(condition[1])
        if value is None or isinstance(value, Address):
            holds: Flags = self._random.random(len(here)) < 0.5
        else:
            holds = value != 0
        return [here & holds, here & ~holds]

    def _flow_to(self, target: str, here: Flags, around: list[Loop]) -> Flags:
        """Return who goes on at a loop's end: whoever entered a loop leaves it."""
        left = [loop for loop in around if target not in loop.blocks]
        return self._reached[left[0].header] if left else here

    def _is_repeat(self, name: str, target: str) -> bool:
        return target in self._loops and name in self._loops[target].blocks

    def _accesses(self, name: str, line: str) -> list[Access]:
        found = [self._access(name, pointer, size) for pointer, size in _touched(line)]
        return [access for access in found if access is not None]

    def _access(self, name: str, pointer: str, size: int) -> Access | None:
        address = self._values.of(pointer)
        if not isinstance(address, Address):
            return None
        strides = {}
        for place, header in enumerate(self._loops):
            if name in self._loops[header].blocks:
                begin = RANDOM + 1 + PAIRED * place
                steps = address.offset[begin : begin + PAIRED] - address.offset[:PAIRED]
                strides[header] = int(np.median(steps))
        return Access(address.base, int(address.offset[RANDOM]), strides, size)


def _touched(line: str) -> list[tuple[str, int]]:
    """Return the pointers that an instruction reads or writes at, with the bytes."""
    if found := _LOAD.match(line) or _STORE.match(line):
        return [(found[2], size_bytes(found[1]))]
    if found := _MASKED.search(line):
        return [(found[2], size_bytes(f"<{found[1]} x float>"))]
    if found := _COPIED.search(line):
        return [(found[1], int(found[3])), (found[2], int(found[3]))]
    if found := _SET.search(line):
        return [(found[1], int(found[2]))]
    return []


def _iterations(loops: list[Loop]) -> dict[str, NDArray[np.int64]]:
    """Return each loop's iterations that are looked at, by its header."""
    random = np.random.default_rng(0)
    columns = {}
    for place, loop in enumerate(loops):
        spread = (random.permutation(RANDOM) + random.random(RANDOM)) / RANDOM
        drawn = np.floor(spread * loop.trips).astype(np.int64)
        drawn[:PAIRED] = np.minimum(drawn[:PAIRED], max(0, loop.trips - 2))
        pairs = np.tile(drawn[:PAIRED], (len(loops), 1))
        pairs[place] += loop.trips > 1
        columns[loop.header] = np.concatenate([drawn, [0], pairs.ravel()])
    return columns
