"""How much a network computes."""

import tvm
from tvm import relay


def multiply_adds(mod: tvm.IRModule) -> int:
    """Return those of an imported network's convolutions and matrix products, one inference."""
    return int(relay.analysis.get_total_mac_number(relay.transform.InferType()(mod)["main"]))
