"""What worker and parent say to each other: one JSON object a line."""

import msgspec


class Converted(msgspec.Struct, frozen=True, tag=True):
    """The files to load are written."""


class Loaded(msgspec.Struct, frozen=True, tag=True):
    """The network runs, and how far its outputs are from the reference."""

    runtime: str
    relative_error: float
    detail: str = ""


class Sampled(msgspec.Struct, frozen=True, tag=True):
    """Seconds of one inference, as the mean of those asked for."""

    sample_s: float


class Failed(msgspec.Struct, frozen=True, tag=True):
    """Why not."""

    reason: str


class Sample(msgspec.Struct, frozen=True):
    """The parent's only request: time `number` inferences run back to back."""

    number: int


Reply = Converted | Loaded | Sampled | Failed
