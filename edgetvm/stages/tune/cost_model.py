"""The cost model that ranks candidates, kept between runs.

TVM's ``XGBModel`` trains from nothing in each run and answers at random until it has. This one is
saved as xgboost's own UBJSON and goes on from there: a run adds trees that are fitted to what it
measured.
"""

from pathlib import Path
from typing import Any

import numpy as np
import xgboost
from tvm import auto_scheduler
from tvm.auto_scheduler.cost_model import xgb_model

from edgetvm.errors import RecordError, one_line
from edgetvm.files import replacing
from edgetvm.stages.build.records import Record
from edgetvm.stages.tune.features import features_of_records, features_of_states

# TVM loads it when the first of its own models is made.
xgb_model.xgb = xgboost
xgb_model.get_per_store_features_from_states = features_of_states

RETRAIN_SHARE = 0.2
"""The model is trained again once it has this part more records than last time."""

RETRAIN_LEAST = 16
"""It takes at least so many new records, once there is a model."""

EXPERIENCE = 1000
"""With so many records it orders a new workload's candidates better than the rules of
`register_tiling` do."""

STOPPING_ROUNDS = 50
"""Trees are added until so many of them have not improved the fit."""

LARGEST_ROUNDS = 500


class CostModel(auto_scheduler.XGBModel):  # type: ignore[misc]
    """Predicts the relative throughput of candidates from features of their loops.

    Parameters
    ----------
    path : file that it is saved to.
    beginning : file of the model that it goes on from: its own of earlier runs, or a relative's.
    threads : of the training.

    Raises
    ------
    RecordError
        `beginning` is no model.
    """

    def __init__(self, path: Path, beginning: Path | None, threads: int, seed: int) -> None:
        super().__init__(verbose_eval=0, num_warmup_sample=-1, seed=seed + 1)
        self._path = path
        self._earlier: xgboost.Booster | None = _load(beginning) if beginning else None
        self._trained_on = 0
        self._features: list[Any] = []
        self.xgb_params["nthread"] = threads
        self.xgb_params.pop("n_gpus")
        self.bst = self._earlier

    @property
    def is_restored(self) -> bool:
        """Whether it goes on from earlier runs."""
        return self._earlier is not None

    @property
    def is_experienced(self) -> bool:
        """Whether it has seen enough to be trusted with workloads that it has not seen."""
        return self.is_restored or self._trained_on >= EXPERIENCE

    def learn(self, records: list[Record]) -> None:
        """Take up new records; the model is trained again when there are enough of them."""
        self.inputs.extend(measure_input for measure_input, _ in records)
        self.results.extend(result for _, result in records)
        new = len(self.inputs) - self._trained_on
        least = RETRAIN_LEAST if self.bst is not None else 1
        if new >= max(least, RETRAIN_SHARE * self._trained_on):
            self._train()

    def save(self) -> None:
        """Write the model, whole or not at all; nothing without one."""
        if self.bst is not None:
            self._path.parent.mkdir(parents=True, exist_ok=True)
            with replacing(self._path) as temporary:
                temporary.write_bytes(self.bst.save_raw("ubj"))

    def _train(self) -> None:
        self._trained_on = len(self.inputs)
        features, throughputs, task_ids = features_of_records(
            self.inputs, self.results, skip_first_n_feature_extraction=len(self._features)
        )
        self._features += list(features[len(self._features) :])
        features = np.array([*self._features, None], dtype=object)[:-1]
        data = xgb_model.pack_sum_xgbmatrix(features, throughputs, task_ids, throughputs)
        stop = xgb_model.CustomCallback(
            stopping_rounds=STOPPING_ROUNDS,
            metric="tr-p-rmse",
            fevals=[xgb_model.pack_sum_rmse],
            evals=[(data, "tr")],
            maximize=False,
            verbose_eval=0,
        )
        self.bst = xgboost.train(
            self.xgb_params,
            data,
            num_boost_round=LARGEST_ROUNDS,
            obj=xgb_model.pack_sum_square_error,
            callbacks=[stop],
            xgb_model=self._earlier,
        )


def _load(path: Path) -> xgboost.Booster:
    try:
        model = xgboost.Booster(model_file=path)
    except xgboost.core.XGBoostError as err:
        raise RecordError(
            f"{path} is no cost model that xgboost {xgboost.__version__} reads: "
            f"{one_line(err)} Delete it; the next run trains a new one from the records."
        ) from err
    # What the last training stopped at says nothing of the next.
    model.set_attr(best_score=None, best_iteration=None, best_msg=None)
    return model
