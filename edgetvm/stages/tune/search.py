"""What is measured next for one task: known schedules, laid-out ones, then AutoScheduler's search.

The evolution is TVM's ``SketchPolicy``, driven from here, so that candidates can be built by
workers that stay alive, timed on any RPC server, and written down one by one.
"""

import random
from collections.abc import Iterable, Iterator
from itertools import chain, islice

from tvm import auto_scheduler
from tvm.auto_scheduler.loop_state import StateObject

from edgetvm.stages.build.tasks import NetworkTask
from edgetvm.stages.export.winograd_schedules import is_transform
from edgetvm.stages.tune.cost_model import CostModel
from edgetvm.stages.tune.register_tiling import tiled_states
from edgetvm.stages.tune.transfer import KnownSchedules

POPULATION = 64
"""Candidates in one generation. TVM's 2048 costs more time than the better choice wins back."""

GENERATIONS = 3

RANDOM_SHARE = 0.1
"""Part of each searched round that is taken from the samples at random; Ansor's epsilon-greedy."""

SAMPLED = 16
"""Fresh samples of each round, with the elite and the laid-out ones the start of its evolution."""

KNOWN_SHARE = 0.3
"""Most of a round that known schedules of other workloads may take."""

ELITE = 32
"""Best measured candidates that enter each evolution."""

RANKED = 16
"""As many known schedules, and laid-out ones, the cost model chooses from without evolution."""

SEARCHED_LEAST = 8
"""Rounds of fewer candidates are chosen so: evolving a generation takes longer than they do."""


class TaskSearch:
    """Proposes candidates for one task and remembers what was measured.

    Parameters
    ----------
    task : the task.
    model : cost model, shared by all tasks of a run.
    known : stores of schedules to begin with, those of this target first.
    seed : of the search's random choices.
    """

    def __init__(
        self,
        task: NetworkTask,
        model: CostModel,
        known: list[KnownSchedules],
        seed: int,
    ) -> None:
        self._task = task.search_task
        self._model = model
        self._known = known
        self._random = random.Random(seed)  # noqa: S311 - a search, not a secret
        self._policy = auto_scheduler.SketchPolicy(
            self._task,
            program_cost_model=model,
            params={
                "evolutionary_search_population": POPULATION,
                "evolutionary_search_num_iters": GENERATIONS,
                "sample_init_min_population": SAMPLED,
            },
            seed=seed + 1,
            verbose=0,
        )
        self._measured: set[str] = set()
        self._elite: list[tuple[float, StateObject]] = []
        self._tiled: list[StateObject] | None = None

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

    def propose(self, count: int) -> list[auto_scheduler.MeasureInput]:
        """Return up to `count` candidates that were not measured yet, most promising first.

        Fewer, or none, mean that the space is all but exhausted.
        """
        is_first_round = self._tiled is None
        if self._tiled is None:
            self._tiled = list(tiled_states(self._task))
        known = chain.from_iterable(store.fitted(self._task) for store in self._known)
        chosen: list[StateObject] = []
        if self._model.is_experienced and (is_first_round or count < SEARCHED_LEAST):
            chosen = self._unseen(self._ranked(known, self._tiled), count)
        else:
            chosen = self._unseen(known, max(1, round(KNOWN_SHARE * count)))
            if is_first_round:
                chosen += self._unseen(self._tiled, count - len(chosen))
        if not chosen or (len(chosen) < count and not is_first_round):
            chosen += self._searched(count - len(chosen))
        return [auto_scheduler.MeasureInput(self._task, state) for state in chosen]

    def _ranked(self, *sources: Iterable[StateObject]) -> list[StateObject]:
        """Sort the next untried states of all `sources` by what the cost model expects of them."""
        pool: list[StateObject] = []
        for states in sources:
            untried = (s for s in map(self._bounded, states) if str(s) not in self._measured)
            pool += islice(untried, RANKED)
        scores = self._model.predict(self._task, pool) if pool else []
        order = sorted(range(len(pool)), key=lambda place: -scores[place])
        return [pool[place] for place in order]

    def _searched(self, count: int) -> list[StateObject]:
        """Return what evolution finds, and a few samples at random."""
        if is_transform(self._task.compute_dag):
            return []
        sampled = list(self._policy.sample_initial_population())
        by_chance = self._random.sample(sampled, len(sampled))
        by_model_count = count - round(count * RANDOM_SHARE)
        chosen = self._unseen(self._by_model(sampled, count), by_model_count)
        return chosen + self._unseen(by_chance, count - len(chosen))

    def _by_model(self, sampled: list[StateObject], count: int) -> Iterator[StateObject]:
        """Yield what the cost model likes best, evolved from all that is known of the task."""
        untried = self._tiled or []
        if self._model.bst is None:
            yield from untried
            yield from sampled
            return
        elite = [state for _, state in self._elite]
        beginning = islice(chain(elite, untried, sampled), 2 * POPULATION)
        yield from self._policy.evolutionary_search(list(beginning), 2 * count)

    def _unseen(self, states: Iterable[StateObject], count: int) -> list[StateObject]:
        chosen: list[StateObject] = []
        if count <= 0:
            return chosen
        for state in states:
            bounded = self._bounded(state)
            text = str(bounded)
            if text not in self._measured:
                self._measured.add(text)
                chosen.append(bounded)
                if len(chosen) == count:
                    break
        return chosen

    def _bounded(self, state: StateObject) -> StateObject:
        """Infer the extents of all loops, without which equal states do not look equal."""
        return self._task.compute_dag.infer_bound_from_state(state).state_object
