"""Schedules at random, built into libraries, and libraries run in this process."""

import random
import time
import warnings
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import tvm
from torch import nn
from tvm import auto_scheduler
from tvm.contrib import graph_executor

from edgetvm.errors import CompileError
from edgetvm.manifest import Source
from edgetvm.measurement import relative_error
from edgetvm.models.network import Network
from edgetvm.models.weights import initialise
from edgetvm.recipe import Recipe
from edgetvm.stages.build.library import build_tuned
from edgetvm.stages.build.records import Record
from edgetvm.stages.build.tasks import NetworkTask, extract_tasks
from edgetvm.stages.export.optimise import fuse_for_auto_scheduler
from edgetvm.stages.export.relay_import import import_network
from edgetvm.stages.host_target import detect_host_profile
from edgetvm.stages.tune.register_tiling import tiled_states

DRAWS = 3


def draw(task: NetworkTask, seed: int) -> Record:
    """A schedule at random, as a record that says it took a millisecond."""
    policy = auto_scheduler.SketchPolicy(
        task.search_task,
        auto_scheduler.RandomModel(),
        # As many are drawn as a generation of the search has, by default thousands. Some are
        # invalid, and TVM fails if all are.
        params={"sample_init_min_population": 1, "evolutionary_search_population": 64},
        seed=seed,
        verbose=0,
    )
    state = policy.sample_initial_population()[0]
    measured = auto_scheduler.MeasureResult([1e-3], 0, "", 0.1, time.time())
    return auto_scheduler.MeasureInput(task.search_task, state), measured


def draw_laid_out(task: NetworkTask, seed: int) -> Record:
    """One of the schedules that are laid out for the task; a random one if there is none."""
    states = list(tiled_states(task.search_task))
    if not states:
        return draw(task, seed)
    state = random.Random(seed).choice(states)
    measured = auto_scheduler.MeasureResult([1e-3], 0, "", 0.1, time.time())
    return auto_scheduler.MeasureInput(task.search_task, state), measured


def wrap(module: nn.Module, input_shape: tuple[int, ...]) -> Network:
    """Make a network of `module`, with weights that keep activations alive."""
    module.eval()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        initialise(module, input_shape, seed=0)
    source = Source(argument="", reference="", options={}, seed=0, weights="", weights_sha256="")
    return Network(
        name="operator",
        title="operator",
        recipe=Recipe(factory="", input_shape=input_shape),
        source=source,
        module=module,
        onnx_path=None,
        input_name="input",
        input_shape=input_shape,
        parameters=0,
    )


def run_library(library: Path, network: Network) -> list[np.ndarray]:
    """Run the network's golden input and return the outputs."""
    module = tvm.runtime.load_module(str(library))
    executor = graph_executor.GraphModule(module["default"](tvm.cpu()))
    executor.set_input(network.input_name, network.golden_input())
    executor.run()
    return [executor.get_output(index).numpy() for index in range(executor.get_num_outputs())]


def check_candidates(
    network: Network, folder: Path, draw_one: Callable[[NetworkTask, int], Record] = draw
) -> list[str]:
    """Build and run a candidate of every task, drawn at random; return the tasks' names.

    One library holds them all, and its output judges them. Like a search, this forgives a draw
    that the compiler refuses, but not a wrong result.
    """
    reference = network.reference_outputs(network.golden_input())
    profile = detect_host_profile()
    target = tvm.target.Target(profile.tvm_target)
    fused = fuse_for_auto_scheduler(import_network(network), target)
    tasks = extract_tasks(fused, profile, threads=1)
    refused = []
    for seed in range(DRAWS):
        library = folder / f"{seed}.so"
        records = [draw_one(task, seed) for task in tasks]
        try:
            build_tuned(fused, target, profile.link_triple, library, records)
        except CompileError as err:
            refused.append(str(err))
            continue
        error = max(map(relative_error, run_library(library, network), reference))
        assert error < network.recipe.accepted_error
        return [task.name for task in tasks]
    pytest.fail(f"no draw of {DRAWS} could be built: {refused}")
