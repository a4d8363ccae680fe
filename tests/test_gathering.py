"""All that there is to compare, gathered from a project's folders as the command does."""

import json

import msgspec
import pytest

from edgetvm.compare import compare
from edgetvm.errors import UsageError
from edgetvm.manifest import write_manifest
from edgetvm.measurement import write_run
from edgetvm.paper.comparison import Comparison
from edgetvm.paper.evidence import read_evidence
from edgetvm.paper.gathering import gather
from edgetvm.paths import DataFolders
from tests.conftest import Invoke
from tests.planted import device_info, manifest
from tests.test_comparison import make_run

COUNTS = {"mobilenet_v1": (4_231_976, 568_740_352), "mobilenet_v2": (3_504_872, 300_774_272)}


def plant(folders: DataFolders, target: str, **changes: object) -> None:
    """Write bundles of both networks with runs of 11.3 and 6.3 ms on one thread, and on two."""
    for (model, counts), tuned_s in zip(COUNTS.items(), (0.0113, 0.0063), strict=True):
        bundle = folders.bundles / target / model
        write_manifest(bundle, manifest(model, target, *counts))
        for threads in (2, 1):
            run = make_run(model, tuned_s / threads, threads=threads, target=target, tuned_tasks=21)
            write_run(msgspec.structs.replace(run, **changes), bundle)


def test_a_target_is_gathered_with_all_settings_counts_claims_and_boards(
    project: DataFolders,
) -> None:
    plant(project, "rasp4b", device=device_info("Cortex-A72"))
    plant(project, "planted")
    comparison = gather(project, "rasp4b")
    assert {(one.model, one.threads) for one in comparison.models} == {
        (model, threads) for model in COUNTS for threads in (1, 2)
    }
    assert {one.parameters for one in comparison.models} == {4_231_976, 3_504_872}
    assert {pair.threads for pair in comparison.pairs} == {1, 2}
    [latency, work] = [one for one in comparison.claims if one.claim == "C06"]
    assert (latency.target, latency.threads, latency.outcome) == ("rasp4b", 1, "partly")
    assert work.outcome == "reproduced"
    assert {one.match for one in comparison.boards} == {"same board", "other device"}
    every = gather(project)
    assert {one.target for one in every.models} == {"rasp4b", "planted"}
    assert [one.target for one in every.claims if one.claim == "C01"] == ["planted", "rasp4b"]


def test_one_paper_has_its_figures_and_claims_only(project: DataFolders) -> None:
    plant(project, "planted")
    comparison = gather(project, arxiv="1801.04381")
    papers = {beside.paper for one in comparison.models for beside in one.published}
    assert papers == {"Sandler et al. 2018, arXiv 1801.04381"}
    assert {one.paper for one in comparison.claims} == papers
    assert {one.claim for one in comparison.claims} == {"C06", "C07", "C08", "C09", "C23"}


def test_an_unknown_paper_is_refused_with_those_there_are(project: DataFolders) -> None:
    plant(project, "planted")
    with pytest.raises(UsageError, match=r"paper '1801\.0438'; those there are: .*1801\.04381"):
        gather(project, arxiv="1801.0438")


def test_nothing_deployed_and_an_unknown_target_are_refused(project: DataFolders) -> None:
    with pytest.raises(UsageError, match="No bundle was deployed yet"):
        gather(project)
    plant(project, "planted")
    with pytest.raises(UsageError, match="Nothing was built for the target 'plante': did you mean"):
        gather(project, "plante")


def test_a_bundle_of_another_version_is_refused(project: DataFolders) -> None:
    plant(project, "planted")
    old = msgspec.structs.replace(
        manifest("mobilenet_v1", "planted", *COUNTS["mobilenet_v1"]), schema_version=1
    )
    write_manifest(project.bundles / "planted" / "mobilenet_v1", old)
    with pytest.raises(UsageError, match="schema_version 1 is not"):
        gather(project)


def test_emulated_runs_have_no_place(project: DataFolders) -> None:
    emulated = msgspec.structs.replace(device_info("QEMU"), emulated="QEMU")
    plant(project, "rasp4b", device=emulated)
    comparison = gather(project)
    assert comparison.models == comparison.pairs == comparison.boards == ()
    times = [one for one in comparison.claims if one.ratio.quantity == "latency"]
    assert {one.outcome for one in times} == {"not measured", "not testable"}


def test_a_target_without_a_profile_is_built_as_host(project: DataFolders) -> None:
    plant(project, "rasp4b")
    plant(project, "znver4")
    arguments = {one.target: one.argument for one in read_evidence(project)}
    assert arguments == {"rasp4b": "rasp4b", "znver4": "host"}


def test_the_command_shows_claims_in_every_form(project: DataFolders, invoke: Invoke) -> None:
    plant(project, "planted")
    shown = {
        form: invoke(compare, "--paper", "1801.04381", "--format", form).stdout
        for form in ("text", "markdown", "csv")
    }
    for text in shown.values():
        assert "partly" in text
        assert "python -m edgetvm.tune" in text.replace("\n", " ")
    assert "| C06 | Sandler et al. 2018, arXiv 1801.04381 |" in shown["markdown"]
    printed = invoke(compare, "--json").stdout
    assert printed == invoke(compare, "--format", "json").stdout
    decoded = msgspec.convert(json.loads(printed), Comparison)
    assert decoded.claims == gather(project).claims
    refused = invoke(compare, "--paper", "1")
    assert refused.exit_code == 2
    assert "those there are" in refused.error


def test_files_of_a_bundle_are_not_read_to_compare(project: DataFolders) -> None:
    plant(project, "planted")
    bundle = project.bundles / "planted" / "mobilenet_v1"
    assert not (bundle / "library.so").exists()
    [target] = read_evidence(project)
    assert target.networks["mobilenet_v1"].library_bytes == 4 * 4_231_976
