"""The report in a real browser: loads without errors, sorts, hovers, isolates, fits a phone."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from pathlib import Path

import pandas as pd
import pytest
from synthetic_folder import Plan, write_folder

from analysis import compare, write_report

BROWSER = next(
    (p for p in ("chromium", "chromium-browser", "google-chrome") if shutil.which(p)), ""
)
FLAGS = (
    "--headless", "--no-sandbox", "--disable-gpu", "--disable-background-networking",
    "--disable-quic", "--no-first-run", "--window-size=1280,900",
)  # fmt: skip

webdriver = pytest.importorskip("selenium.webdriver", reason="selenium is not installed")
if not BROWSER or not shutil.which("chromedriver"):
    pytest.skip("no Chromium with chromedriver on this machine", allow_module_level=True)

from selenium.webdriver.chrome.service import Service  # noqa: E402
from selenium.webdriver.common.action_chains import ActionChains  # noqa: E402
from selenium.webdriver.common.by import By  # noqa: E402
from selenium.webdriver.support.ui import Select  # noqa: E402

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def browser() -> Iterator:
    options = webdriver.ChromeOptions()
    options.binary_location = shutil.which(BROWSER)
    for flag in FLAGS:
        options.add_argument(flag)
    options.set_capability("goog:loggingPrefs", {"browser": "ALL"})
    driver = webdriver.Chrome(options=options, service=Service(shutil.which("chromedriver")))
    yield driver
    driver.quit()


@pytest.fixture(scope="module")
def report(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("browser") / "f"
    attack = "<img src=x onerror=document.title='owned'>"
    plan = Plan(search=10, sensitivity=(1.0, 2.0, 5.0), name=attack, fail=("uw",))
    return write_report(write_folder(folder, plan)).report


@pytest.fixture
def page(browser, report: Path) -> Iterator:
    browser.set_window_size(1280, 900)
    browser.get(report.as_uri())
    assert browser.find_element(By.TAG_NAME, "html").get_attribute("data-ready") == "true"
    yield browser
    errors = [
        entry for entry in browser.get_log("browser") if entry["level"] in ("SEVERE", "ERROR")
    ]
    assert errors == []


def column(page, table: str, place: int) -> list[str]:
    rows = page.find_elements(By.CSS_SELECTOR, f"#{table} tbody tr")
    return [row.find_elements(By.TAG_NAME, "td")[place].text for row in rows]


def test_strings_of_a_study_stay_text(page) -> None:
    assert page.title.startswith("<img src=x")
    assert page.find_elements(By.CSS_SELECTOR, "img[src='x']") == []


def test_tables_sort_by_number_and_keep_empty_cells_last(page) -> None:
    head = page.find_elements(By.CSS_SELECTOR, "#summary thead button")[2]
    assert head.text.startswith("Δmtm")

    def values() -> list[str]:
        return [text.split()[0] for text in column(page, "summary", 2)]

    for ascending in (True, False):
        head.click()
        found = values()
        assert found[-1] == "–"  # the method whose trials all failed
        numbers = [float(text.replace("−", "-")) for text in found if text != "–"]
        assert numbers == sorted(numbers, reverse=not ascending)
    page.find_elements(By.CSS_SELECTOR, "#summary thead button")[0].click()
    names = column(page, "summary", 0)
    assert names == sorted(names, key=str.casefold)


def test_hover_names_the_trial_and_its_hyperparameters(page) -> None:
    mark = page.find_elements(By.CSS_SELECTOR, "#widget-tradeoff path[data-family=fairgrad]")[-1]
    page.execute_script("arguments[0].scrollIntoView({block: 'center'})", mark)
    ActionChains(page).move_to_element(mark).perform()
    text = page.find_element(By.ID, "tooltip").text
    assert "seed" in text
    assert "trial" in text
    assert "alpha = " in text
    assert "CL accuracy" in text


def test_click_isolates_a_method_everywhere_and_escape_ends_it(page) -> None:
    chip = page.find_element(By.CSS_SELECTOR, "#widget-tradeoff button.chip[data-family=cagrad]")
    page.execute_script("arguments[0].scrollIntoView({block: 'center'})", chip)
    chip.click()

    def dimmed(selector: str) -> set[str]:
        return {
            node.get_attribute("data-family")
            for node in page.find_elements(By.CSS_SELECTOR, selector)
        }

    assert chip.get_attribute("aria-pressed") == "true"
    assert "cagrad" not in dimmed("svg .dim") | dimmed("tr.dim")
    assert {"ls", "fairgrad"} <= dimmed("#widget-tradeoff .dim") & dimmed("#summary tr.dim")
    select = Select(page.find_element(By.CSS_SELECTOR, "#widget-weights select"))
    assert select.first_selected_option.text == "CAGrad"
    page.find_element(By.TAG_NAME, "body").send_keys("\ue00c")
    assert page.find_elements(By.CSS_SELECTOR, ".dim") == []
    row = page.find_element(By.CSS_SELECTOR, "#summary tr[data-family=fairgrad]")
    row.click()
    assert "fairgrad" not in dimmed("#summary tr.dim")
    assert "ls" in dimmed("#summary tr.dim")


def test_axes_split_and_phases_can_be_chosen(page) -> None:
    def marks() -> int:
        return len(page.find_elements(By.CSS_SELECTOR, "#widget-tradeoff .mark"))

    before = marks()
    assert page.find_elements(By.CSS_SELECTOR, "#widget-tradeoff path.front")
    boxes = page.find_elements(By.CSS_SELECTOR, "#widget-tradeoff input")
    labels = [box.find_element(By.XPATH, "..").text.strip() for box in boxes]
    boxes[labels.index("search")].click()
    assert marks() > before
    selects = page.find_elements(By.CSS_SELECTOR, "#widget-tradeoff select")
    Select(selects[2]).select_by_visible_text("test")
    assert "(test)" in page.find_element(By.CSS_SELECTOR, "#widget-tradeoff svg").text
    Select(selects[0]).select_by_index(1)
    assert "RR mse ↓ (test)" in page.find_element(By.CSS_SELECTOR, "#widget-tradeoff svg").text


def test_starts_on_the_split_on_which_sweep_and_methods_compare(browser, tmp_path: Path) -> None:
    for tested, split in ((True, "(test)"), (False, "(validation)")):
        plan = Plan(test_on_sweep=tested, search=1, fixed=(), methods=("ls", "cagrad"))
        browser.get(write_report(write_folder(tmp_path / split, plan)).report.as_uri())
        assert split in browser.find_element(By.CSS_SELECTOR, "#widget-tradeoff svg").text


def test_losses_can_be_axes(page) -> None:
    across = Select(page.find_elements(By.CSS_SELECTOR, "#widget-tradeoff select")[0])
    across.select_by_visible_text("CL loss ↓")
    plot = page.find_element(By.CSS_SELECTOR, "#widget-tradeoff svg")
    assert "CL loss ↓ (validation)" in plot.text
    assert page.find_elements(By.CSS_SELECTOR, "#widget-tradeoff .mark")


def test_three_metrics_turn_hover_and_isolate(browser, tmp_path: Path) -> None:
    plan = Plan(tasks=3, search=1, fixed=("cagrad",), seeds=2)
    browser.set_window_size(1280, 900)
    browser.get(write_report(write_folder(tmp_path / "f", plan)).report.as_uri())

    def places() -> list[str]:
        marks = browser.find_elements(By.CSS_SELECTOR, "#widget-space path.mark")
        return sorted(mark.get_attribute("transform") for mark in marks)

    def mark(family: str):
        return browser.find_element(
            By.CSS_SELECTOR, f"#widget-space path.mark[data-family={family}]"
        )

    plot = browser.find_element(By.CSS_SELECTOR, "#widget-space svg")
    browser.execute_script("arguments[0].scrollIntoView({block: 'center'})", plot)
    before = places()
    assert len(before) == 5 + 1 + 7  # methods, fixed weights, swept points
    corner = ActionChains(browser).move_to_element_with_offset(plot, -250, 150)
    corner.click_and_hold().move_by_offset(60, 20).release().perform()
    dragged = places()
    assert dragged != before
    assert browser.find_elements(By.CSS_SELECTOR, ".dim") == []  # turning isolates nothing
    plot.send_keys("\ue012")
    assert places() != dragged
    ActionChains(browser).move_to_element(mark("ls")).perform()
    text = browser.find_element(By.ID, "tooltip").text
    assert "LS" in text.splitlines()[0]
    assert "mean of 2 trials" in text
    assert "T2 accuracy" in text
    browser.find_element(By.CSS_SELECTOR, "#widget-space button.chip[data-family=uw]").click()
    assert "dim" in mark("ls").get_attribute("class")
    assert "dim" not in mark("uw").get_attribute("class")
    box = browser.find_element(By.CSS_SELECTOR, "#widget-space input")
    box.click()
    assert len(places()) == 2 * (5 + 1 + 7)
    assert [e for e in browser.get_log("browser") if e["level"] == "SEVERE"] == []


def test_infinite_values_sort_as_the_largest(browser, tmp_path: Path) -> None:
    folder = write_folder(tmp_path / "f", Plan(seeds=2, search=1, sweep=0, fixed=()))
    trials = pd.read_parquet(folder / "trials.parquet")
    two = {v: trials.loc[(trials["variant"] == v) & (trials["seed"] >= 100)].index
           for v in ("cagrad", "fairgrad")}  # fmt: skip
    metrics = [c for c in trials if c.startswith("test.")]
    same = trials.loc[two["cagrad"], metrics].to_numpy()
    trials.loc[two["fairgrad"], metrics] = same  # no difference: no number of seeds shows one
    trials.to_parquet(folder / "trials.parquet")
    browser.get(write_report(folder).report.as_uri() + "#pairs")
    heads = browser.find_elements(By.CSS_SELECTOR, "#pairs thead button")
    place = [head.text for head in heads].index("seeds needed")
    for ascending in (True, False):
        heads[place].click()
        found = column(browser, "pairs", place)
        assert "∞" in found
        numbers = [float(text.replace("∞", "inf")) for text in found]
        assert numbers == sorted(numbers, reverse=not ascending)


def test_weights_and_search_can_be_read(page) -> None:
    for widget, wanted in (("weights", ("epoch", "CL:")), ("search", ("configuration", "lr = "))):
        selector = f"#widget-{widget} {'svg' if widget == 'weights' else '.mark'}"
        node = page.find_element(By.CSS_SELECTOR, selector)
        page.execute_script("arguments[0].scrollIntoView({block: 'center'})", node)
        ActionChains(page).move_to_element(node).perform()
        text = page.find_element(By.ID, "tooltip").text
        assert all(part in text for part in wanted)


def test_evidence_links_lead_somewhere_and_open_long_tables(page) -> None:
    links = page.find_elements(By.CSS_SELECTOR, ".finding a")
    assert links
    for link in links:
        target = link.get_attribute("href").partition("#")[2]
        assert page.find_elements(By.ID, target)
    page.execute_script("location.hash = 'failures'")
    details = page.find_element(By.CSS_SELECTOR, "#failures details.long")
    assert details.get_attribute("open") == "true"


def test_tables_are_there_as_csv_and_latex(page) -> None:
    exports = page.find_elements(By.CSS_SELECTOR, "#summary details.export")
    assert [e.get_attribute("data-file") for e in exports] == ["summary.csv", "summary.tex"]
    exports[1].find_element(By.TAG_NAME, "summary").click()
    assert r"\begin{tabular}" in exports[1].text
    assert exports[1].find_element(By.TAG_NAME, "button").text == "Save summary.tex"


def test_readable_on_a_phone(page) -> None:
    # The window has a least width on some systems; the emulated screen has not.
    page.execute_cdp_cmd(
        "Emulation.setDeviceMetricsOverride",
        {"width": 390, "height": 844, "deviceScaleFactor": 2, "mobile": True},
    )
    try:
        page.refresh()
        width = page.execute_script("return document.documentElement.scrollWidth")
        assert width <= 390
        svg = page.find_element(By.CSS_SELECTOR, "#widget-tradeoff svg")
        assert svg.size["width"] <= 390
    finally:
        page.execute_cdp_cmd("Emulation.clearDeviceMetricsOverride", {})


HIDDEN = """const s = document.querySelector("#summary .scroll");
return s.scrollWidth - s.clientWidth"""


def test_the_summary_fits_a_common_window(page) -> None:
    page.set_window_size(1200, 900)
    page.refresh()
    assert page.execute_script(HIDDEN) <= 1
    assert not page.find_element(By.CSS_SELECTOR, "#summary p.more").is_displayed()


def test_a_table_wider_than_a_phone_says_so_and_keeps_its_names(page) -> None:
    page.execute_cdp_cmd(
        "Emulation.setDeviceMetricsOverride",
        {"width": 390, "height": 844, "deviceScaleFactor": 2, "mobile": True},
    )
    try:
        page.refresh()
        assert page.execute_script(HIDDEN) > 100
        hint = page.find_element(By.CSS_SELECTOR, "#summary p.more")
        assert hint.is_displayed()
        assert "scroll" in hint.text
        name = page.find_element(By.CSS_SELECTOR, "#summary tbody td")
        before = name.rect["x"]
        page.execute_script("document.querySelector('#summary .scroll').scrollLeft = 150")
        assert name.rect["x"] == pytest.approx(before, abs=1)
    finally:
        page.execute_cdp_cmd("Emulation.clearDeviceMetricsOverride", {})


def test_comparison_opens_without_errors(browser, tmp_path: Path) -> None:
    folders = [
        write_folder(tmp_path / str(i), Plan(tasks=2 + i, seed=i, name=f"study {i}", search=2))
        for i in range(2)
    ]
    browser.get(compare(folders, tmp_path / "out").report.as_uri())
    assert browser.find_element(By.TAG_NAME, "html").get_attribute("data-ready") == "true"
    assert "Comparison of 2 studies" in browser.title
    assert [e for e in browser.get_log("browser") if e["level"] == "SEVERE"] == []
