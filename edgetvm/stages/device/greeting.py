"""What client and server tell each other before TVM's protocol begins, on a port that asks for it.

One line of JSON each way, inside TLS: the client says its versions and its token's secret, the
server says whether it takes the client, and if not, why. Until then the server reads nothing else.
"""

from typing import Self

import msgspec

from edgetvm import __version__

PROTOCOL = 1
"""Of the greeting, and of the functions that a session offers beside TVM's own."""

MAX_LINE_BYTES = 4096


class Versions(msgspec.Struct, frozen=True, kw_only=True):
    """What has to fit between client and server."""

    protocol: int
    edgetvm: str
    tvm: str

    @classmethod
    def here(cls) -> Self:
        """Those of this process."""
        import tvm

        return cls(protocol=PROTOCOL, edgetvm=__version__, tvm=str(tvm.__version__))

    def fits(self, other: "Versions") -> bool:
        """Whether sessions between the two work: records and libraries belong to one TVM."""
        return (self.protocol, self.tvm) == (other.protocol, other.tvm)

    def __str__(self) -> str:
        return f"edgetvm {self.edgetvm} with TVM {self.tvm}"


class Hello(msgspec.Struct, frozen=True, kw_only=True):
    """The client's line; `secret` is hexadecimal."""

    versions: Versions
    secret: str


class Answer(msgspec.Struct, frozen=True, kw_only=True):
    """The server's line.

    Attributes
    ----------
    refusal : empty if the client is welcome.
    is_token_right : whether it was the client's versions that were refused.
    """

    versions: Versions
    refusal: str = ""
    is_token_right: bool = True


def as_line(message: Hello | Answer) -> bytes:
    """Return a message as it is sent."""
    return msgspec.json.encode(message) + b"\n"
