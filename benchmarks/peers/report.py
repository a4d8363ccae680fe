"""The results: raw samples as JSON, medians and ratios as a Markdown table."""

from collections.abc import Iterable, Iterator

import msgspec
from scipy.stats import gmean

from edgetvm.measurement import Measurement
from edgetvm.stages.device.timing import Samples

OURS = "ours"

TITLES = {
    OURS: "edgetvm",
    "onnxruntime": "ONNX Runtime",
    "openvino": "OpenVINO",
    "ncnn": "ncnn",
    "mnn": "MNN",
    "litert": "LiteRT",
    "executorch": "ExecuTorch",
    "torch_compile": "torch.compile",
    "torch_eager": "PyTorch",
}
"""The contenders by the name of their module in `peers.runtimes`."""

PEERS = tuple(name for name in TITLES if name != OURS)


class Outcome(msgspec.Struct, frozen=True, kw_only=True):
    """What came of one contender on one model.

    Attributes
    ----------
    runtime : name and version of what ran it.
    detail : what else is to be known of this model in it.
    relative_error : largest output error, relative to the reference output's magnitude; None if
        it did not get so far.
    measurement : None if it failed or was wrong.
    reason : of that; empty otherwise.
    """

    runtime: str = ""
    detail: str = ""
    relative_error: float | None = None
    measurement: Measurement | None = None
    reason: str = ""

    def summary(self) -> str:
        """Say in half a line whether it is ready to be timed."""
        return self.reason or f"{self.runtime}, relative error {self.relative_error:.1e}"

    def with_samples(self, samples: Samples, threads: int) -> "Outcome":
        """Return the same with what was measured."""
        measurement = Measurement(
            samples_s=samples.samples_s,
            number=samples.number,
            threads=threads,
            runtime=self.runtime,
        )
        return msgspec.structs.replace(self, measurement=measurement)


class ModelResult(msgspec.Struct, frozen=True):
    """All contenders on one model."""

    model: str
    outcomes: dict[str, Outcome]

    def ratio(self, peer: str) -> float | None:
        """Return the peer's median by ours; None if either has none."""
        ours, theirs = (self.outcomes[name].measurement for name in (OURS, peer))
        return theirs.median_s / ours.median_s if ours and theirs else None

    def best_ratio(self, peers: Iterable[str]) -> float | None:
        """Return the fastest peer's ratio."""
        ratios = [ratio for peer in peers if (ratio := self.ratio(peer))]
        return min(ratios, default=None)


class Report(msgspec.Struct, frozen=True, kw_only=True):
    """One run of the benchmark.

    Attributes
    ----------
    contenders : keys of `TITLES`, ours first.
    cores : logical CPUs that every contender kept to.
    measured_at : UTC, ISO 8601.
    """

    measured_at: str
    cpu: str
    threads: int
    cores: tuple[int, ...]
    rounds: int
    contenders: tuple[str, ...]
    models: tuple[ModelResult, ...]

    def runtimes(self) -> list[str]:
        """Return the contenders' names with versions, each once."""
        measured = (
            model.outcomes[name].measurement for name in self.contenders for model in self.models
        )
        return list(dict.fromkeys(one.runtime for one in measured if one))


def table_lines(report: Report) -> Iterator[str]:
    """Yield the lines of the Markdown table and its notes."""
    peers = [name for name in report.contenders if name != OURS]
    yield "| model | " + " | ".join(TITLES[name] for name in report.contenders) + " |"
    yield "|---" + "|--:" * len(report.contenders) + "|"
    for result in report.models:
        cells = (_cell(result, name) for name in report.contenders)
        yield f"| `{result.model}` | " + " | ".join(cells) + " |"
    means = (_mean(result.ratio(peer) for result in report.models) for peer in peers)
    yield "| peer / edgetvm, geometric mean | | " + " | ".join(means) + " |"
    best = _mean(result.best_ratio(peers) for result in report.models)
    yield f"| **best peer / edgetvm, geometric mean** | **{best}** |" + " |" * len(peers)
    yield ""
    yield (
        f"Medians of {report.rounds} samples in ms, with their 95 % confidence interval; in "
        f"brackets the ratio to edgetvm, above 1 where edgetvm is faster. {report.cpu}, "
        f"{report.threads} thread(s), fp32, batch as in the recipe, {report.measured_at[:10]}."
    )
    yield ""
    yield f"Versions: {'; '.join(report.runtimes())}."
    remarks = list(_remarks(report))
    if remarks:
        yield ""
        yield from remarks


def _cell(result: ModelResult, name: str) -> str:
    outcome = result.outcomes[name]
    if outcome.measurement is None:
        return "failed"
    low_s, high_s = outcome.measurement.interval_s()
    median_s = outcome.measurement.median_s
    text = f"{median_s * 1e3:.2f} [{low_s * 1e3:.2f}, {high_s * 1e3:.2f}]"
    ratio = result.ratio(name)
    return text if name == OURS or ratio is None else f"{text} ({ratio:.2f})"


def _mean(ratios: Iterable[float | None]) -> str:
    known = [ratio for ratio in ratios if ratio is not None]
    return f"{gmean(known):.2f}" if known else "none"


def _remarks(report: Report) -> Iterator[str]:
    for result in report.models:
        for name in report.contenders:
            outcome = result.outcomes[name]
            if outcome.reason:
                yield f"- {TITLES[name]} failed on `{result.model}`: {outcome.reason}"
            elif outcome.detail:
                yield f"- {TITLES[name]}, `{result.model}`: {outcome.detail}"
