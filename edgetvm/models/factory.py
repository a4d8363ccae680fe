"""Make a network from ``module:callable``, whether edgetvm's own or a user's."""

import importlib
import sys
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import torch
from torch import nn

from edgetvm.errors import UsageError, did_you_mean, one_line


def build_module(reference: str, options: Mapping[str, Any], seed: int) -> nn.Module:
    """Call the factory that `reference` names, in a random state that `seed` fixes.

    The global random state is as before afterwards. The working directory goes to the front of
    ``sys.path`` and stays there, since a factory may import more later.

    Raises
    ------
    UsageError
        The module or the callable is not found, it fails, or it returns no network.
    """
    factory = _find_callable(reference)
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        try:
            network = factory(**options)
        except UsageError:
            raise
        except Exception as err:
            raise UsageError(
                f"{reference} fails when called with {_arguments(options)} ({one_line(err)}). "
                "A recipe can give it options."
            ) from err
    if not isinstance(network, nn.Module):
        raise UsageError(
            f"{reference} returns a {type(network).__name__}, not a torch.nn.Module. "
            "Name a function or class that returns the network."
        )
    return network


def _find_callable(reference: str) -> Callable[..., object]:
    module_name, _, name = reference.partition(":")
    if not module_name or not name:
        raise UsageError(f"{reference!r} is not of the form package.module:callable.")
    here = str(Path.cwd())
    if here not in sys.path:
        sys.path.insert(0, here)
    try:
        module = importlib.import_module(module_name)
    except Exception as err:  # whatever the module's own code raises
        raise UsageError(
            f"{reference}: module {module_name} cannot be imported ({one_line(err)}). It must lie "
            f"in the working directory ({here}) or be installed."
        ) from err
    factory: object = getattr(module, name, None)
    if not callable(factory):
        public = [key for key, value in vars(module).items() if key[0] != "_" and callable(value)]
        raise UsageError(
            f"{reference}: module {module_name} has no callable {name!r}: "
            f"{did_you_mean(name, public)}"
        )
    return factory


def _arguments(options: Mapping[str, Any]) -> str:
    return ", ".join(f"{key}={value!r}" for key, value in options.items()) or "no arguments"
