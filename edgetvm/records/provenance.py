"""What a store of tuning records was measured with."""

import msgspec

SCHEMA_VERSION = 1


class Machine(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """A machine that contributed records; no name, so that stores can be shared."""

    cpu: str
    arch: str
    cores: int
    libc: str


class Provenance(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """What the records of a store have in common, and the machines they come from.

    Attributes
    ----------
    modelled : whether their times are a cycle model's estimates.
    """

    schema_version: int = SCHEMA_VERSION
    tvm_version: str
    tvm_target: str
    threads: int
    machines: tuple[Machine, ...]
    modelled: bool = False
