"""The report's page: what it is made of, and how a real browser shows it."""

import base64
import re
import shutil
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from xml.etree import ElementTree

import msgspec
import pytest
from matplotlib.figure import Figure
from selenium import webdriver

from edgetvm.layer_profile import write_profile
from edgetvm.paper.figures import load_papers
from edgetvm.paper.gathering import gather
from edgetvm.paths import DataFolders
from edgetvm.reporting.accuracy import Point
from edgetvm.reporting.document import Plot, Report, Section, Table
from edgetvm.reporting.drawing import INK, SERIES, new_axes, to_svg
from edgetvm.reporting.material import gather_material
from edgetvm.reporting.page import is_numeric, to_html
from edgetvm.reporting.plots import draw_accuracy
from edgetvm.reporting.sections import make_report
from tests.conftest import ROOT
from tests.planted_bundle import plant_bundle, plant_records
from tests.test_comparison import make_run
from tests.test_profile import layer, planted

ARTEFACTS = ROOT / "test-artefacts"
"""Where screenshots are kept, to be looked at."""

SECTIONS = (
    "Summary",
    "Accuracy and latency",
    "Latency",
    "Latency distributions",
    "Tuning",
    "Layers",
    "Claims",
    "Published figures",
    "Board state",
    "How to reproduce",
)


def draw_line() -> Figure:
    figure, axes = new_axes(300, 200)
    axes.plot([0, 1], [0, 1], color=SERIES[0], marker="o", label="a < b & c")
    axes.legend()
    axes.text(0.5, 0.5, "words", color=INK)
    return figure


LINE = Plot(title="A & B", description="It rises.", draw=draw_line)


class TestDrawing:
    def test_a_plot_is_an_image_with_a_name_and_words(self) -> None:
        root = ElementTree.fromstring(to_svg(LINE, 3))
        assert root.get("role") == "img"
        texts = {element.get("id"): element.text for element in root}
        named = str(root.get("aria-labelledby")).split()
        assert [texts[name] for name in named] == ["A & B", "It rises."]
        words = [e.text for e in root.iter() if e.tag.endswith("}text")]
        assert {"words", "a < b & c"} <= set(words)

    def test_the_page_gives_the_colours_and_the_font(self) -> None:
        svg = to_svg(LINE, 1)
        assert not re.search(r"(fill|stroke)[:=] ?.?#", svg)
        used = set(re.findall(r"var\((--[\w-]+)\)", svg))
        sheet = (ROOT / "edgetvm/reporting/templates/page.css").read_text()
        assert {"--series-1", "--ink", "--rule"} <= used <= set(re.findall(r"(--[\w-]+):", sheet))
        assert "font-family" not in svg

    def test_a_drawing_is_the_same_each_time(self) -> None:
        assert to_svg(LINE, 1) == to_svg(LINE, 1)

    def test_names_that_many_points_leave_no_room_for_are_left_out(self) -> None:
        points = [
            Point(model=f"net_{n}", series="s", top1=70 + n, latency_s=s, low_s=s, high_s=s)
            for n in range(20)
            for s in (0.001 * 1.01**n,)
        ]
        axes = draw_accuracy(points, ["s"], (50, 100), named=True).axes[0]
        assert 1 <= len(axes.texts) < 20


def page_of(*sections: Section) -> str:
    return to_html(
        Report(title="A <b>title</b>", made_at="2026-01-02T03:04:05Z", sections=sections)
    )


def test_the_page_escapes_what_it_is_given() -> None:
    row = {"Model": "<script>alert(1)</script>", "Note": "a & b"}
    page = page_of(
        Section(title="One", notes=("run `a <b>` now",), tables=(Table(title="<i>", rows=[row]),))
    )
    assert "<script" not in page
    assert "<i>" not in page
    assert "<code>a &lt;b&gt;</code>" in page
    assert "<h1>A &lt;b&gt;title&lt;/b&gt;</h1>" in page


def test_every_id_of_a_page_is_its_own() -> None:
    page = page_of(Section(title="One", plots=(LINE, LINE)), Section(title="Two", plots=(LINE,)))
    repeated = {
        name: n for name, n in Counter(re.findall(r'\bid="([^"]+)"', page)).items() if n > 1
    }
    assert repeated == {}
    links = {*re.findall(r'href="#([^"]+)"', page), *re.findall(r"url\(#([^)]+)\)", page)}
    assert links <= set(re.findall(r'\bid="([^"]+)"', page))


def test_tables_can_be_folded_and_columns_that_say_nothing_left_out() -> None:
    rows = [{"Model": f"net_{n}", "Size": f"{n}.5 MB", "Nothing": "-"} for n in range(3)]
    page = page_of(
        Section(
            title="One",
            tables=(Table(title="Many", rows=rows, folded=True), Table(title="Few", rows=rows)),
        )
    )
    assert page.count("<details>") == 1
    assert "Many (3 rows)" in page
    assert "Nothing" not in page
    assert '<th scope="col" class="number">Size</th>' in page


def test_rows_that_look_the_same_are_shown_once() -> None:
    rows = [{"Claim": "C01", "Paper": str(n)} for n in range(3)]
    page = page_of(Section(title="One", tables=(Table(title="A", rows=rows, columns=("Claim",)),)))
    assert page.count("<tbody>\n<tr>") == page.count(">C01<") == 1


@pytest.mark.parametrize(
    ("cells", "numeric"),
    [
        (["8.81 ms", "-", "12 ms"], True),
        (["6.69 ms (6.47 to 6.81)"], True),
        (["1.5e-06", "72.0 %", "+3", "0.37 cores"], True),
        (["4 of 5 things and more"], False),
        (["valid"], False),
        (["2025-01-02T00:00:00Z"], False),
    ],
)
def test_columns_of_numbers_are_told(cells: list[str], numeric: bool) -> None:
    assert is_numeric("A", [{"A": cell} for cell in cells]) is numeric


@pytest.fixture(scope="module")
def browser(tmp_path_factory: pytest.TempPathFactory) -> Iterator[webdriver.Chrome]:
    """Debian's Chromium, headless."""
    chromium, driver = shutil.which("chromium"), shutil.which("chromedriver")
    if chromium is None or driver is None:
        pytest.skip("needs Debian's packages chromium and chromium-driver")
    options = webdriver.ChromeOptions()
    options.binary_location = chromium
    options.set_capability("goog:loggingPrefs", {"browser": "ALL"})
    for flag in (
        "--headless",
        "--no-sandbox",
        "--disable-gpu",
        "--disable-quic",
        "--no-first-run",
        "--disable-background-networking",
        "--disable-component-update",
        "--disable-sync",
        f"--user-data-dir={tmp_path_factory.mktemp('chromium')}",
    ):
        options.add_argument(flag)
    browser = webdriver.Chrome(options=options, service=webdriver.ChromeService(driver))
    yield browser
    browser.quit()


@pytest.fixture(scope="module")
def page(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A report on six networks, one of them profiled."""
    folder = tmp_path_factory.mktemp("report")
    folders = DataFolders.below(ROOT, folder)
    for number, model in enumerate(
        ("mobilenet_v1", "mobilenet_v2", "mobilenet_v2_1.4", "squeezenet", "shufflenet_g3", "build")
    ):
        busy = 1.9 if model == "squeezenet" else 0.0
        plant_bundle(folders, make_run(model, 0.004 + 0.003 * number, others_busy=busy))
    plant_records(folders, "planted", threads=1)
    layers = (
        *(layer(1e-4 * n, flop=10**7 * n, moved_bytes=10**6) for n in range(1, 40)),
        layer(1e-3),
    )
    profile = msgspec.structs.replace(
        planted(*layers), model="mobilenet_v2", device=make_run("x").device, threads=1
    )
    write_profile(profile, folders.bundles / "planted" / "mobilenet_v2")
    material = gather_material(gather(folders), load_papers(), folders)
    (folder / "report.html").write_text(to_html(make_report(material)))
    return folder / "report.html"


def emulate(browser: webdriver.Chrome, width: int, scheme: str) -> None:
    size = {"width": width, "height": 900, "deviceScaleFactor": 1, "mobile": width < 500}
    browser.execute_cdp_cmd("Emulation.setDeviceMetricsOverride", size)
    preferred = [{"name": "prefers-color-scheme", "value": scheme}]
    browser.execute_cdp_cmd("Emulation.setEmulatedMedia", {"features": preferred})


def keep(name: str, content: dict[str, Any]) -> None:
    ARTEFACTS.mkdir(exist_ok=True)
    (ARTEFACTS / name).write_bytes(base64.b64decode(content["data"]))


@pytest.mark.slow
class TestInABrowser:
    @pytest.mark.parametrize("width", [390, 1200])
    @pytest.mark.parametrize("scheme", ["light", "dark"])
    def test_it_fits_and_logs_nothing(
        self, browser: webdriver.Chrome, page: Path, width: int, scheme: str
    ) -> None:
        emulate(browser, width, scheme)
        browser.get(page.as_uri())
        screenshot = {"captureBeyondViewport": True}
        keep(
            f"report-{width}-{scheme}.png",
            browser.execute_cdp_cmd("Page.captureScreenshot", screenshot),
        )
        assert browser.get_log("browser") == []
        wide = "return [document.documentElement.scrollWidth, document.documentElement.clientWidth]"
        shown, there = browser.execute_script(wide)
        assert shown <= there
        ink, paper = (
            browser.execute_script(f"return getComputedStyle(document.body).{name}")
            for name in ("color", "backgroundColor")
        )
        brightness = [sum(map(int, re.findall(r"\d+", one)[:3])) for one in (ink, paper)]
        assert (brightness[0] < brightness[1]) == (scheme == "light")
        drawn = "return getComputedStyle(document.querySelector('figure svg text')).fill"
        assert browser.execute_script(drawn) not in ("rgb(0, 0, 0)", "none")

    def test_all_sections_tables_and_plots_are_there(
        self, browser: webdriver.Chrome, page: Path
    ) -> None:
        emulate(browser, 1200, "light")
        browser.get(page.as_uri())
        headings = "return [...document.querySelectorAll('h2')].map(one => one.textContent)"
        assert browser.execute_script(headings) == list(SECTIONS)
        links = (
            "return [...document.querySelectorAll('nav a')]"
            ".map(one => document.querySelector(one.hash).id)"
        )
        assert len(browser.execute_script(links)) == len(SECTIONS)
        rows = (
            "return Object.fromEntries([...document.querySelectorAll('.scroll[aria-label]')]"
            ".filter(one => one.querySelector('table'))"
            ".map(one => [one.ariaLabel, one.querySelectorAll('tbody tr').length]))"
        )
        tables = browser.execute_script(rows)
        assert tables["Latency on Planted CPU (planted), threads: 1"] == 6
        assert tables["Times of the layers of mobilenet_v2"] == 40
        assert tables["Board state"] == tables["Bundles"] == tables["Tuning"] == 6
        sizes = (
            "return [...document.querySelectorAll('svg')]"
            ".map(one => one.getBoundingClientRect()).map(box => [box.width, box.height])"
        )
        plots = browser.execute_script(sizes)
        assert len(plots) == 2 + 6 + 6 + 2
        assert all(width > 200 and height > 80 for width, height in plots)
        verdict = "return document.querySelector('#latency').textContent"
        assert "noisy: other programs kept 1.9 cores busy" in browser.execute_script(verdict)

    def test_it_asks_for_nothing_from_elsewhere(
        self, browser: webdriver.Chrome, page: Path
    ) -> None:
        browser.get(page.as_uri())
        asked = "return performance.getEntriesByType('resource').map(one => one.name)"
        assert browser.execute_script(asked) == []
        assert browser.execute_script("return document.scripts.length") == 0

    def test_it_prints(self, browser: webdriver.Chrome, page: Path) -> None:
        browser.get(page.as_uri())
        printed = browser.execute_cdp_cmd("Page.printToPDF", {"preferCSSPageSize": True})
        keep("report.pdf", printed)
        content = base64.b64decode(printed["data"])
        assert content.startswith(b"%PDF")
        assert content.count(b"/Type /Page\n") >= 2
