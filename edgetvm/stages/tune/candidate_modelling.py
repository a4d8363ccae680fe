"""Estimates of tuning candidates for a device that is not there."""

import time
from collections.abc import Iterator

from tvm.auto_scheduler.measure import MeasureErrorNo

from edgetvm.errors import CompileError
from edgetvm.stages.cycles.cycle_model import CycleModel
from edgetvm.stages.tune.candidate_build import BuiltCandidate
from edgetvm.stages.tune.candidate_timing import Outcome


class ModelTimer:
    """Says what candidates, built as LLVM IR, will take on the target of `model`.

    Attributes
    ----------
    spent_s : on all estimates until now.
    """

    def __init__(self, model: CycleModel) -> None:
        self._model = model
        self.spent_s = 0.0

    def time(self, candidates: list[BuiltCandidate], _best_s: float | None) -> Iterator[Outcome]:
        """Yield estimated seconds, error number and error of each candidate, in order."""
        texts = [one.library.read_text() for one in candidates if one.library is not None]
        started_s = time.monotonic()
        estimates = iter(self._estimate(texts))
        self.spent_s += time.monotonic() - started_s
        for candidate in candidates:
            if candidate.library is None:
                yield [], candidate.error_no, candidate.error
                continue
            candidate.library.unlink()
            yield next(estimates)

    def _estimate(self, texts: list[str]) -> list[Outcome]:
        """Estimate all together; if that fails, one by one: a bad one costs the others nothing."""
        try:
            estimates = self._model.estimate(texts) if texts else []
        except CompileError as err:
            if len(texts) == 1:
                return [([], MeasureErrorNo.COMPILE_DEVICE, str(err))]
            return [outcome for text in texts for outcome in self._estimate([text])]
        return [([one.seconds], MeasureErrorNo.NO_ERROR, "") for one in estimates]
