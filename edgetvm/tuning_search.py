"""The search of a tuning run: candidates built, timed and recorded, and shown meanwhile."""

from typing import TYPE_CHECKING

import msgspec

from edgetvm.cli import first_interrupt_calls, notes
from edgetvm.host_cpu import usable_cores
from edgetvm.manifest import AUTO_SCHEDULER, METASCHEDULE
from edgetvm.records import TunerStores
from edgetvm.tuning_display import TuningDisplay
from edgetvm.tuning_options import TuneOptions

if TYPE_CHECKING:
    from edgetvm.device_info import DeviceInfo
    from edgetvm.stages.build.network_build import NetworkBuild
    from edgetvm.stages.device.fleet import Fleet
    from edgetvm.stages.device.session import Address
    from edgetvm.stages.tune.progress import TuningProgress
    from edgetvm.stages.tune.tools import Search


def search_schedules(
    build: "NetworkBuild",
    measured_on: "Address | Fleet",
    device: "DeviceInfo",
    stores: TunerStores,
    options: TuneOptions,
) -> "TuningProgress | None":
    """Search for schedules, unless no trials were asked for."""
    from edgetvm.stages.build.definitions import add_definitions
    from edgetvm.stages.cycles.cycle_model import CycleModel
    from edgetvm.stages.device.fleet import Fleet
    from edgetvm.stages.host_target import TVM_VERSION
    from edgetvm.stages.tune.candidate_build import CandidateBuilder
    from edgetvm.stages.tune.candidate_modelling import ModelTimer
    from edgetvm.stages.tune.candidate_timing import CandidateTimer
    from edgetvm.stages.tune.parallel_timing import ParallelTimer
    from edgetvm.stages.tune.tools import Timer, Tools
    from edgetvm.stages.tune.tuner import Tuner

    if not options.trials:
        return None
    store, forms = stores.auto_scheduler, build.forms
    if options.is_modelled:
        cluster = build.profile.cluster
        device = msgspec.structs.replace(
            device, cpu=f"model of {cluster.core}", cores=cluster.count, libc=""
        )
    store.write_provenance(build.profile.tvm_target, TVM_VERSION, device)
    add_definitions(store.workloads, forms.tasks)
    boards = measured_on.boards if isinstance(measured_on, Fleet) else {}
    display = TuningDisplay(notes, boards)
    is_here = options.rpc is None and options.tracker is None
    spare_cores = usable_cores() - (build.threads if is_here else 0)
    workers = spare_cores or usable_cores()
    with CandidateBuilder(
        workers, has_own_core=spare_cores > 0, as_text=options.is_modelled
    ) as builder:
        timer: Timer
        if options.is_modelled:
            timer = ModelTimer(CycleModel(build.profile, build.threads))
        elif isinstance(measured_on, Fleet):
            timer = ParallelTimer(measured_on, build.threads, flush_cache=options.flush_cache)
        else:
            timer = CandidateTimer(measured_on, build.threads, flush_cache=options.flush_cache)
        with notes.status("taking up earlier records"):
            searches = _searches(build, stores, options)
            tuner = Tuner(forms.tasks, searches, Tools(builder, timer), display.update, forms.uses)
            tuner.take_up()
        if tuner.progress.resumed:
            notes.print(f"took up {tuner.progress.resumed} records of earlier runs")
        with display, first_interrupt_calls(tuner.stop):
            return tuner.run(options.trials, options.budget_s)


def _searches(build: "NetworkBuild", stores: TunerStores, options: TuneOptions) -> "list[Search]":
    from edgetvm.stages.tune.auto_scheduler_search import begin_auto_scheduler_search
    from edgetvm.stages.tune.metaschedule_search import MetaScheduleSearch

    tasks, seed, cores = build.forms.tasks, build.network.recipe.seed, usable_cores()
    searches: list[Search] = []
    if options.uses(AUTO_SCHEDULER):
        search, model = begin_auto_scheduler_search(tasks, stores.auto_scheduler, cores, seed)
        if model is not None:
            notes.print(f"took up the cost model of {model.parent.name}")
        searches.append(search)
    if options.uses(METASCHEDULE):
        theirs = stores.metaschedule
        seed += len(theirs.read())
        searches.append(MetaScheduleSearch(tasks, theirs, build.threads, cores, seed))
    return searches
