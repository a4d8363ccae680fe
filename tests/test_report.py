"""What a report says, on planted runs, records and profiles."""

import csv
import io
import json
import re
import shlex
import subprocess
import sys
from pathlib import Path

import click
import msgspec
import pytest

from edgetvm.__main__ import program
from edgetvm.device_state import DeviceState
from edgetvm.errors import UsageError
from edgetvm.layer_profile import write_profile
from edgetvm.manifest import METASCHEDULE
from edgetvm.paper.figures import load_papers
from edgetvm.paper.gathering import gather
from edgetvm.paths import DataFolders
from edgetvm.records.line import parse_line
from edgetvm.report import report
from edgetvm.reporting.accuracy import Point, pareto_front, published_points, published_top1
from edgetvm.reporting.build_sections import layers, reproduction, tuning
from edgetvm.reporting.document import Section
from edgetvm.reporting.formats import as_csv, as_json, as_markdown, as_text
from edgetvm.reporting.material import Material, gather_material
from edgetvm.reporting.measured_sections import device_states, latencies, samples, summary
from edgetvm.reporting.published_sections import accuracy, claims, published
from edgetvm.reporting.sections import make_report
from edgetvm.reporting.tuning_curve import tuning_curve
from tests.conftest import ROOT, Invoke
from tests.planted_bundle import COMMIT, plant_bundle, plant_records, task
from tests.planted_records import line
from tests.test_comparison import figure, make_run, measurement, paper
from tests.test_profile import layer, planted

BUSY = {"others_busy": 1.9}


def material_of(folders: DataFolders) -> Material:
    return gather_material(gather(folders), load_papers(), folders)


def text_of(section: Section) -> str:
    return "\n".join((*section.notes, *section.commands, *map(text_of, section.sections)))


def rows_of(section: Section) -> dict[str, dict[str, str]]:
    return {row["Model"]: row for table in section.tables for row in table.rows}


def profile_of(model: str, **changes: object):
    found = planted(layer(2e-3, flop=10**8, moved_bytes=10**6), layer(1e-3))
    device = make_run(model).device
    return msgspec.structs.replace(found, model=model, device=device, threads=1, **changes)


class TestTuningCurve:
    def test_it_follows_the_trials_in_the_order_in_which_they_were_measured(self) -> None:
        records = [
            line(1, 0.001, at_s=4),
            line(1, 0.002, at_s=1),
            line(2, 0.003, at_s=2),
            line(3, 0.001, at_s=2.5),
            line(2, None, at_s=3),
        ]
        curve = tuning_curve([task(1, count=2), task(2)], map(parse_line, records))
        assert curve is not None
        assert curve.trials == (2, 4)
        assert curve.estimates_s == pytest.approx((0.007, 0.005))
        assert curve.all_trials == 4

    @pytest.mark.parametrize("records", [[], [line(1)], [line(1), line(2, None)]])
    def test_there_is_none_while_a_task_has_no_valid_record(self, records: list[str]) -> None:
        assert tuning_curve([task(1), task(2)], map(parse_line, records)) is None


class TestAccuracy:
    def test_the_front_has_what_no_other_network_beats(self) -> None:
        points = [
            Point(model=name, series="s", top1=top1, latency_s=s, low_s=s, high_s=s)
            for name, top1, s in (
                ("slow", 70, 3.0),
                ("best", 75, 2.0),
                ("fast", 60, 1.0),
                ("as fast but worse", 59, 1.0),
                ("as good but slower", 75, 2.5),
            )
        ]
        assert [point.model for point in pareto_front(points)] == ["fast", "best"]

    def test_the_accuracy_is_that_of_the_oldest_paper_at_full_precision(self) -> None:
        papers = [
            paper("1", figure("net", top1=60, precision="int8"), figure("net", params_m=1)),
            paper("2", figure("net", top1=61)),
            paper("3", figure("net", top1=62)),
        ]
        stated = published_top1("net", papers)
        assert stated is not None
        assert (stated[0].arxiv, stated[1].top1) == ("2", 61)
        assert published_top1("other", papers) is None

    def test_published_points_have_both_values_and_their_own_device(self) -> None:
        timed = {"latency_ms": 20, "device": "A phone"}
        papers = [
            paper(
                "1",
                figure("net", top1=60, **timed),
                figure("small", top1=50),
                figure("other", **timed),
                figure("coarse", top1=50, precision="int8", **timed),
            )
        ]
        (point,) = published_points(papers)
        assert (point.model, point.series, point.latency_s) == ("net", "A phone", 0.02)


class TestSections:
    def test_the_summary_says_what_ran_where_and_what_it_is_worth(
        self, project: DataFolders
    ) -> None:
        plant_bundle(project, make_run("mobilenet_v2"))
        plant_bundle(project, make_run("squeezenet", measured_at="2025-01-03T00:00:00Z", **BUSY))
        text = text_of(summary(material_of(project)))
        assert (
            "2 networks on Planted CPU (planted), threads: 1, measured from 2025-01-01 to" in text
        )
        assert "Tuned is faster than untuned for 2 of 2; untuned / tuned is 3.00" in text
        assert "1 valid, 1 noisy. squeezenet is noisy: other programs kept 1.9 cores busy." in text

    def test_every_latency_is_there_with_its_verdict(self, project: DataFolders) -> None:
        plant_bundle(project, make_run("mobilenet_v2", **BUSY))
        alone = make_run("squeezenet")
        plant_bundle(project, msgspec.structs.replace(alone, reference=None))
        rows = rows_of(latencies(material_of(project)))
        assert rows["mobilenet_v2"]["Tuned"].startswith("10.0 ms (")
        assert rows["mobilenet_v2"]["Reference is"].startswith("noisy: other programs")
        assert (rows["squeezenet"]["Tuned is"], rows["squeezenet"]["Reference is"]) == (
            "valid",
            "-",
        )

    def test_settings_are_told_apart(self, project: DataFolders) -> None:
        run = make_run("mobilenet_v2")
        plant_bundle(project, run)
        tuned = measurement(0.006, threads=2)
        plant_bundle(project, msgspec.structs.replace(run, target="planted_2", tuned=tuned))
        material = material_of(project)
        titles = [table.title for table in latencies(material).tables]
        assert titles == [
            "Latency on Planted CPU (planted), threads: 1",
            "Latency on Planted CPU (planted_2), threads: 2",
        ]
        assert len({plot.title for plot in samples(material).plots}) == 2

    def test_samples_are_described_for_those_who_do_not_see_them(
        self, project: DataFolders
    ) -> None:
        plant_bundle(project, make_run("mobilenet_v2"))
        (plot,) = samples(material_of(project)).plots
        assert plot.description.startswith("Medians: tuned 10.0 ms of 30 samples, untuned 30.0 ms")

    def test_accuracy_is_published_and_the_front_ours(self, project: DataFolders) -> None:
        for model, tuned_s in (("mobilenet_v2", 0.01), ("shufflenet_g3", 0.02), ("build", 0.001)):
            plant_bundle(project, make_run(model, tuned_s))
        section = accuracy(material_of(project))
        rows = rows_of(section)
        assert rows["mobilenet_v2"]["Top-1"] == "72.0 %"
        assert (
            rows["mobilenet_v2"]["Top-1 from"] == "Sandler et al. 2018, arXiv 1801.04381, Table 4"
        )
        assert [rows[model]["On the front"] for model in ("mobilenet_v2", "shufflenet_g3")] == [
            "yes",
            "no",
        ]
        assert "Without a published top-1: build." in section.notes
        here, papers = section.plots
        assert here.title == "Here: Planted CPU (planted), threads: 1"
        assert "mobilenet_v2 (72.0 %, 10.0 ms)" in here.description
        assert papers.title.startswith("Other devices")

    def test_without_any_published_accuracy_the_papers_points_are_still_there(
        self, project: DataFolders
    ) -> None:
        plant_bundle(project, make_run("build"))
        assert len(accuracy(material_of(project)).plots) == 1

    def test_tuning_curves_come_from_the_records(self, project: DataFolders) -> None:
        plant_bundle(project, make_run("mobilenet_v2"))
        plant_records(project, "planted", threads=1)
        section = tuning(material_of(project))
        (plot,) = section.plots
        assert plot.description == "The estimate falls from 7.00 ms to 4.00 ms within 5 trials."
        assert rows_of(section)["mobilenet_v2"]["Last estimate"] == "4.00 ms"

    def test_missing_records_are_said_with_the_command_that_makes_them(
        self, project: DataFolders
    ) -> None:
        plant_bundle(project, make_run("mobilenet_v2"))
        section = tuning(material_of(project))
        assert section.plots == ()
        assert section.notes[-1] == (
            "mobilenet_v2 has no curve, since a task has no record of AutoScheduler's: `python -m "
            "edgetvm.tune mobilenet_v2 --target host --threads 1 --trials 1000` makes them."
        )

    def test_layers_are_shown_beside_the_roofline(self, project: DataFolders) -> None:
        manifest = plant_bundle(project, make_run("mobilenet_v2"))
        bundle = project.bundles / "planted" / "mobilenet_v2"
        write_profile(profile_of("mobilenet_v2", bundle_id=manifest.bundle_id), bundle)
        (inner,) = layers(material_of(project)).sections
        assert [plot.title for plot in inner.plots] == [
            "Time of each layer of mobilenet_v2",
            "Roofline of mobilenet_v2",
        ]
        (table,) = inner.tables
        assert [row["Bound by"] for row in table.rows] == ["compute", "memory"]
        assert "built again" not in text_of(inner)

    def test_layers_without_a_probe_have_no_roofline(self, project: DataFolders) -> None:
        plant_bundle(project, make_run("mobilenet_v2"))
        write_profile(
            profile_of("mobilenet_v2", roofline=None), project.bundles / "planted" / "mobilenet_v2"
        )
        (inner,) = layers(material_of(project)).sections
        assert [plot.title for plot in inner.plots] == ["Time of each layer of mobilenet_v2"]
        assert inner.plots[0].draw() is not None
        assert "The bundle was built again since; profile it again." in inner.notes

    def test_a_faulty_probe_is_said(self, project: DataFolders) -> None:
        plant_bundle(project, make_run("mobilenet_v2"))
        above = layer(0.8e-3, flop=10**8)
        write_profile(
            profile_of("mobilenet_v2", layers=(above,)),
            project.bundles / "planted" / "mobilenet_v2",
        )
        (inner,) = layers(material_of(project)).sections
        assert f"Above the roofline, so that the probe is at fault: {above.name}." in inner.notes

    def test_a_missing_profile_or_one_of_another_setting_is_said_with_the_command(
        self, project: DataFolders
    ) -> None:
        for model in ("mobilenet_v2", "squeezenet"):
            plant_bundle(project, make_run(model))
        write_profile(
            msgspec.structs.replace(profile_of("squeezenet"), threads=2),
            project.bundles / "planted" / "squeezenet",
        )
        section = layers(material_of(project))
        assert section.sections == ()
        assert section.notes[-1] == (
            "Not profiled: mobilenet_v2, squeezenet. Do it with `python -m edgetvm.profile "
            "mobilenet_v2 --target planted --threads 1` and so on."
        )

    def test_published_figures_keep_their_device(self, project: DataFolders) -> None:
        for model in ("mobilenet_v2", "mobilenet_v2_1.4"):
            plant_bundle(project, make_run(model))
        figures, ratios, *_ = published(material_of(project)).tables
        assert {row["Beside ours"] for row in figures.rows} == {"other device", "-"}
        assert "1.91" in {row["Published ratio"] for row in ratios.rows}

    def test_published_latencies_of_boards_stand_beside_ours(self, project: DataFolders) -> None:
        plant_bundle(project, make_run("mobilenet_v2"))
        (board,) = (
            table
            for table in published(material_of(project)).tables
            if table.title.startswith("Published latencies of boards")
        )
        assert {row["Model"] for row in board.rows} == {"mobilenet_v2"}

    def test_claims_are_counted_and_the_unanswered_say_why(self, project: DataFolders) -> None:
        for model, tuned_s in (("mobilenet_v2", 0.0075), ("mobilenet_v2_1.4", 0.0143)):
            plant_bundle(project, make_run(model, tuned_s))
        section = claims(material_of(project))
        answered, unanswered = section.tables
        assert all(row["Ours"] != "-" for row in answered.rows)
        assert all(row["Why"] != "-" for row in unanswered.rows)
        told = {row["Outcome"] for table in section.tables for row in table.rows}
        assert len(answered.rows) + len(unanswered.rows) == sum(
            int(number) for number in re.findall(r"\d+", section.notes[0])
        )
        assert all(outcome in section.notes[0] for outcome in told)

    def test_the_boards_state_is_shown_before_and_after(self, project: DataFolders) -> None:
        after = DeviceState(
            clocks_mhz={0: 600, 1: 1500},
            governors=("performance",),
            temperatures_c={"cpu": 71.2},
            throttled=("under-voltage",),
            load=1.5,
            available_memory_bytes=None,
        )
        plant_bundle(project, make_run("mobilenet_v2", after=after, cpus="0,1", **BUSY))
        row = rows_of(device_states(material_of(project)))["mobilenet_v2"]
        assert row["Clocks"] == "1500 MHz → 600 to 1500 MHz"
        assert row["Governor"] == "performance"
        assert row["Temperature"] == "- → 71 °C"
        assert row["Slowed down"] == "under-voltage"
        assert row["Load"] == "0.10 → 1.50"
        assert row["Others"] == "1.90 cores"

    def test_the_commands_to_reproduce_are_commands(self, project: DataFolders) -> None:
        manifest = plant_bundle(project, make_run("mobilenet_v2"))
        source = msgspec.structs.replace(
            manifest.source, argument="my_package.net:build", weights="my weights.pth"
        )
        searched = msgspec.structs.replace(task(2), tuner=METASCHEDULE)
        plant_bundle(project, make_run("build"), source=source, tasks=(task(1), searched))
        section = reproduction(material_of(project))
        assert section.commands[0] == f"git checkout {COMMIT}"
        assert (
            "python -m edgetvm.tune my_package.net:build --target host --threads 1 --trials 0 "
            "--input-shape 1,3,32,32 --weights 'my weights.pth' --tuner best"
        ) in section.commands
        assert "python -m edgetvm.deploy build --target planted --threads 1" in section.commands
        for text in section.commands[1:]:
            module, *arguments = shlex.split(text)[2:]
            name = module.removeprefix("edgetvm.")
            command = program.get_command(click.Context(program), name)
            assert command is not None
            command.make_context(name, arguments)
        row = rows_of(section)["build"]
        assert row["Weights"] == "my weights.pth"
        assert row["Bundle"] == "0" * 16 + ", built again since the run"

    def test_bundles_of_changed_or_several_sources_name_no_commit_to_check_out(
        self, project: DataFolders
    ) -> None:
        plant_bundle(project, make_run("mobilenet_v2"), edgetvm_commit=f"{COMMIT}-dirty")
        assert "git checkout" not in text_of(reproduction(material_of(project)))
        plant_bundle(project, make_run("squeezenet"))
        assert "git checkout" not in text_of(reproduction(material_of(project)))


def test_what_a_bundle_was_made_with_is_asked_for_again(
    project: DataFolders,
) -> None:
    from tests.test_display import LATENCY

    flushed = msgspec.structs.replace(LATENCY, estimate_flushed=True)
    only = msgspec.structs.replace(task(1), tuner=METASCHEDULE)
    plant_bundle(
        project, make_run("mobilenet_v2"), latency=flushed, tasks=(only,), precision="float16"
    )
    line = reproduction(material_of(project)).commands[1]
    assert line.endswith("--precision float16 --tuner metaschedule --flush-cache")


def test_an_emulators_runs_are_no_report(project: DataFolders) -> None:
    run = make_run("mobilenet_v2")
    device = msgspec.structs.replace(run.device, emulated="QEMU some core")
    plant_bundle(project, msgspec.structs.replace(run, device=device))
    with pytest.raises(UsageError, match="No device ran these bundles"):
        material_of(project)


class TestFormats:
    def test_all_have_the_same_tables(self, project: DataFolders) -> None:
        plant_bundle(project, make_run("mobilenet_v2"))
        plant_records(project, "planted", threads=1)
        made = make_report(material_of(project))
        tables = [table for _, section in made.walk() for table in section.tables if table.rows]
        data = json.loads(as_json(made))
        assert data["sections"][0]["title"] == "Summary"
        listed = [table for section in data["sections"] for table in section["tables"]]
        assert [table["rows"] for table in listed if table["rows"]] == [t.rows for t in tables]
        blocks = as_csv(made).split("\n\n")
        assert [block.splitlines()[0] for block in blocks] == [f"# {t.title}" for t in tables]
        for block, table in zip(blocks, tables, strict=True):
            assert list(csv.DictReader(io.StringIO(block.split("\n", 1)[1]))) == table.rows
        markdown, text = as_markdown(made), as_text(made, width=200)
        for table in tables:
            assert f"**{table.title}**" in markdown
            assert table.title in text
        assert "## How to reproduce" in markdown
        assert "```\ngit checkout" in markdown


class TestCommand:
    def test_a_page_is_written_and_said(self, project: DataFolders, invoke: Invoke) -> None:
        plant_bundle(project, make_run("mobilenet_v2"))
        output = project.bundles / "page.html"
        done = invoke(report, "--output", str(output))
        assert done.exit_code == 0, done.stderr
        assert f"report: {output}" in done.stderr
        assert output.read_text().startswith("<!doctype html>")
        assert output.read_text().endswith("</html>\n")

    def test_it_is_report_html_without_a_name(
        self,
        project: DataFolders,
        invoke: Invoke,
        tmp_path: Path,
        monkeypatch: pytest.MonkeyPatch,
    ) -> None:
        plant_bundle(project, make_run("mobilenet_v2"))
        monkeypatch.chdir(tmp_path)
        assert invoke(report, "--target", "planted").exit_code == 0
        assert (tmp_path / "report.html").exists()

    def test_other_formats_are_printed_or_written(
        self, project: DataFolders, invoke: Invoke
    ) -> None:
        plant_bundle(project, make_run("mobilenet_v2"))
        assert json.loads(invoke(report, "--json").stdout)["sections"]
        for form, part in (("text", "Board state"), ("markdown", "# Small"), ("csv", "# Devices")):
            assert part in invoke(report, "--format", form).stdout
        output = project.bundles / "report.md"
        printed = invoke(report, "--format", "markdown", "--output", str(output))
        assert printed.stdout == ""
        assert "| mobilenet_v2 |" in output.read_text()

    def test_nothing_deployed_is_one_sentence(self, project: DataFolders, invoke: Invoke) -> None:
        refused = invoke(report)
        assert refused.exit_code == 2
        assert refused.error.startswith("No bundle was deployed yet.")

    def test_it_says_what_is_missing_where_nothing_compiles(
        self, project: DataFolders, invoke: Invoke, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        code = "import sys; sys.modules['matplotlib'] = None; import edgetvm.report"
        subprocess.run([sys.executable, "-c", code], check=True, cwd=ROOT)
        monkeypatch.setattr("edgetvm.cli.importlib.util.find_spec", lambda name: None)
        refused = invoke(report)
        assert refused.error.startswith("The package jinja2 is not installed, which this needs")

    def test_a_place_that_is_none_is_refused_before_the_work(
        self, project: DataFolders, invoke: Invoke
    ) -> None:
        missing = project.bundles / "nowhere" / "report.html"
        refused = invoke(report, "--output", str(missing))
        assert refused.exit_code == 2
        assert f"there is no folder {missing.parent}. Make it first." in refused.error
        assert not missing.parent.exists()
        folder = invoke(report, "--output", str(project.recipes))
        assert folder.error.endswith("is a folder: name a file with --output.")

    def test_a_folder_that_cannot_be_written_is_refused(
        self, project: DataFolders, invoke: Invoke, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr("edgetvm.report.os.access", lambda folder, mode: False)
        refused = invoke(report, "--output", str(project.recipes / "report.html"))
        assert refused.error.startswith(f"{project.recipes} cannot be written to")
