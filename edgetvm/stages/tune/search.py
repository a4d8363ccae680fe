"""AutoScheduler's search for one task: sketches, sampling and evolution under a cost model.

The same steps as TVM's ``SketchPolicy.continue_search_one_round``, driven from here, so that
candidates can be built by workers that stay alive, timed on any RPC server, and written down one
by one.
"""

import random
from collections.abc import Iterable
from itertools import islice

from tvm import auto_scheduler
from tvm.auto_scheduler.loop_state import StateObject

from edgetvm.stages.build.tasks import NetworkTask

POPULATION = 256
"""Candidates in one generation. TVM's 2048 costs more time than the better choice wins back."""

RANDOM_SHARE = 0.1
"""Part of each round that is taken from the samples at random; Ansor's epsilon-greedy."""

SAMPLED = 32
"""Fresh samples of each round, with the elite the start of its evolution."""

EVOLUTION_COUNT = 8
"""Fewest candidates for which a round evolves its samples."""

HINTS = 2
"""Schedules that are tried first, from each store of another target or thread count."""

ELITE = 32
"""Best measured candidates that enter each evolution."""


class TaskSearch:
    """Proposes candidates for one task and remembers what was measured.

    Evolution takes seconds, whatever comes of it. So until the cost model has learnt something
    candidates are plain samples, and for a few candidates the samples that it likes best.

    Parameters
    ----------
    task : the task.
    model : cost model, shared by all tasks of a run.
    seed : of the search's random choices.
    """

    def __init__(self, task: NetworkTask, model: auto_scheduler.XGBModel, seed: int) -> None:
        self._task = task.search_task
        self._model = model
        self._random = random.Random(seed)  # noqa: S311 - a search, not a secret
        self._policy = auto_scheduler.SketchPolicy(
            self._task,
            program_cost_model=model,
            params={
                "evolutionary_search_population": POPULATION,
                "sample_init_min_population": SAMPLED,
            },
            seed=seed + 1,
            verbose=0,
        )
        self._measured: set[str] = set()
        self._elite: list[tuple[float, StateObject]] = []
        self._hints: list[StateObject] = []

    def note(self, state: StateObject, seconds: float | None) -> None:
        """Remember that `state` was measured; `seconds` is None if it failed."""
        self._measured.add(str(state))
        if seconds is not None:
            self._elite.append((seconds, state))
            self._elite.sort(key=lambda entry: entry[0])
            del self._elite[ELITE:]

    def restore(self, states: Iterable[tuple[StateObject, float | None]]) -> None:
        """Take up what earlier runs measured; bounds are inferred, as :meth:`note` expects."""
        for state, seconds in states:
            self.note(self._bounded(state), seconds)

    def hint(self, states: Iterable[StateObject]) -> None:
        """Propose the first `HINTS` of `states` before anything else."""
        self._hints += islice(states, HINTS)

    def propose(self, count: int) -> list[auto_scheduler.MeasureInput]:
        """Return up to `count` candidates that were not measured yet, most promising first.

        Fewer, or none, mean that the space is all but exhausted.
        """
        chosen = self._unseen(self._hints, count)
        if len(chosen) < count:
            sampled = list(self._policy.sample_initial_population())
            by_chance = self._random.sample(sampled, len(sampled))
            by_model_count = count - len(chosen) - round(count * RANDOM_SHARE)
            chosen += self._unseen(self._by_model(sampled, count), max(0, by_model_count))
            chosen += self._unseen(by_chance, count - len(chosen))
        return [auto_scheduler.MeasureInput(self._task, state) for state in chosen]

    def _by_model(self, sampled: list[StateObject], count: int) -> list[StateObject]:
        """Return what the cost model likes best, evolved from `sampled` and the elite."""
        if self._model.bst is None:
            return sampled
        if count < EVOLUTION_COUNT:
            scores = self._model.predict(self._task, sampled)
            ranked = sorted(zip(scores, sampled, strict=True), key=lambda pair: -pair[0])
            return [state for _, state in ranked]
        elite = [state for _, state in self._elite]
        return list(self._policy.evolutionary_search([*elite, *sampled], 2 * count))

    def _unseen(self, states: Iterable[StateObject], count: int) -> list[StateObject]:
        chosen: list[StateObject] = []
        for state in states:
            if len(chosen) == count:
                break
            bounded = self._bounded(state)
            text = str(bounded)
            if text not in self._measured:
                self._measured.add(text)
                chosen.append(bounded)
        return chosen

    def _bounded(self, state: StateObject) -> StateObject:
        """Infer the extents of all loops, without which equal states do not look equal."""
        return self._task.compute_dag.infer_bound_from_state(state).state_object
