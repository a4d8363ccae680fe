"""Which device a run is for: this machine, one in the network, or an emulated board."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import replace

from edgetvm.access import KnownTokens, Token
from edgetvm.errors import UsageError
from edgetvm.opencl_device import OPENCL_CPU
from edgetvm.stages.device.emulated_board import emulated_server, find_architecture, prepare
from edgetvm.stages.device.loopback import loopback_server
from edgetvm.stages.device.session import Address, reach
from edgetvm.target_profile import MODELLED

EMULATED = "emulated"
"""What ``--rpc`` calls the emulated board."""


@contextmanager
def device_at(
    rpc: str | None, token: str | None = None, note: Callable[[str], None] = lambda _: None
) -> Iterator[Address]:
    """Yield the address of a device, with a server of its own where that has to be started.

    Parameters
    ----------
    rpc : ``HOST[:PORT]``; ``emulated`` is an emulated board, ``opencl-cpu`` OpenCL on this
        machine's CPU, None this machine.
    token : as the device's server printed it; once it was right it is kept for later runs.
    note : told of what takes a while.

    Raises
    ------
    DeviceError, UsageError
        It cannot be reached or started, or the token is wrong.
    """
    if rpc == MODELLED:
        raise UsageError(f"--rpc {MODELLED} is no device to run on: only tune and deploy take it.")
    if rpc in (None, OPENCL_CPU):
        with loopback_server() as address:
            yield replace(address, opencl=rpc == OPENCL_CPU)
        return
    assert rpc is not None
    if rpc == EMULATED:
        board = find_architecture("aarch64")
        prepare(board, note)
        with emulated_server(board) as address:
            yield address
        return
    address = address_of(rpc, token)
    if token is not None:
        reach(address)
        keep_token(address)
    yield address


def address_of(rpc: str, token: str | None = None) -> Address:
    """Return the address of a device in the network, with the token given or kept for it.

    Raises
    ------
    DeviceError, UsageError
        It is no address, or no token.
    """
    address = Address.parse(rpc)
    if token is not None:
        return replace(address, token=Token.parse(token))
    if address.is_local:
        return address
    return replace(address, token=KnownTokens.read().of(address.host))


def keep_token(address: Address) -> None:
    """Keep the token of an address, which was right, for later runs."""
    assert address.token is not None
    KnownTokens.read().store(address.host, address.token)
