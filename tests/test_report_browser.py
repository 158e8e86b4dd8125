"""The pages in a real browser: sorting, slider, zoom, keyboard, phone width, no network, no errors."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from browser_pages import BROWSER, DRIVER, all_of, one, open_page, select, start, webdriver
from report_pages import EVIL, evaluation, training_run
from selenium.webdriver.common.keys import Keys
from selenium.webdriver.support.ui import WebDriverWait

from model.report import report

pytestmark = pytest.mark.skipif(not (BROWSER and DRIVER), reason="needs chromium and chromedriver")


@pytest.fixture(scope="module")
def browser(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Any]:
    driver = start(tmp_path_factory.mktemp("profile"))
    yield driver
    driver.quit()


@pytest.fixture(scope="module")
def pages(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    root = tmp_path_factory.mktemp("pages")
    return {
        "evaluation": report(evaluation(root / "e", name=EVIL, ground_truth=True), root / "e.html"),
        "training": report(training_run(root / "run"), root / "t.html"),
    }


@pytest.mark.parametrize("width", [390, 1280])
@pytest.mark.parametrize("dark", [False, True])
@pytest.mark.parametrize("kind", ["evaluation", "training"])
def test_pages_open_without_errors_and_fit(
    browser: Any, pages: dict[str, Path], kind: str, width: int, dark: bool
) -> None:
    open_page(browser, pages[kind], width, dark)
    assert browser.get_log("browser") == []
    assert browser.execute_script("return document.documentElement.scrollWidth") <= width
    colour = browser.execute_script("return getComputedStyle(document.body).backgroundColor")
    assert (sum(map(int, colour.strip("rgb()").split(","))) < 300) == dark
    assert all(
        browser.execute_script("return arguments[0].naturalWidth", image) > 0
        for image in all_of(browser, "img")
    )
    # Nothing but the page itself was asked for.
    asked = browser.execute_script("return performance.getEntriesByType('resource').map((e) => e.name)")
    assert [name for name in asked if not name.startswith("data:")] == []


def test_the_table_sorts_by_any_column(browser: Any, pages: dict[str, Path]) -> None:
    open_page(browser, pages["evaluation"])

    def column() -> list[float]:
        cells = all_of(browser, ".scores tbody td:nth-child(4)")
        return [float(cell.get_attribute("title").split(" ±")[0]) for cell in cells]

    before = column()
    button = one(browser, "button[data-column='2']")
    button.send_keys(Keys.ENTER)  # by keyboard; best first
    assert column() == sorted(before, reverse=True)
    assert browser.switch_to.active_element.get_attribute("data-column") == "2"
    one(browser, "button[data-column='2']").click()
    assert column() == sorted(before)
    assert one(browser, "th[aria-sort='ascending']").text.startswith("Qabf")
    assert all_of(browser, ".scores .best")


def test_baselines_and_gamed_metrics_can_be_hidden(browser: Any, pages: dict[str, Path]) -> None:
    open_page(browser, pages["evaluation"])
    boxes = all_of(browser, "#scores input[type=checkbox]")
    assert len(all_of(browser, ".scores tbody tr")) == 6
    boxes[0].click()
    assert [row.text.split("\n")[0] for row in all_of(browser, ".scores tbody th")] == [EVIL]
    headings = [cell.text for cell in all_of(browser, ".scores thead button")]
    boxes[1].click()
    left = [cell.text for cell in all_of(browser, ".scores thead button")]
    assert any("ⁿ" in text for text in headings) and not any("ⁿ" in text for text in left)


def test_hostile_names_are_shown_and_do_nothing(browser: Any, pages: dict[str, Path]) -> None:
    open_page(browser, pages["evaluation"])
    assert EVIL in one(browser, "#pictures").text
    assert not all_of(browser, "img[src='x']")


def test_the_gallery_moves_by_keyboard_and_shows_error_maps(browser: Any, pages: dict[str, Path]) -> None:
    open_page(browser, pages["evaluation"])
    first = one(browser, ".tiles img").get_attribute("src")
    one(browser, "button[aria-label='Next pair']").send_keys(Keys.ENTER)
    assert one(browser, "#pictures output").text == "2 / 3"
    assert one(browser, ".tiles img").get_attribute("src") != first
    one(browser, "button[aria-label='Previous pair']").send_keys(Keys.SPACE)
    assert one(browser, ".tiles img").get_attribute("src") == first
    tiles = len(all_of(browser, ".tiles figure"))
    all_of(browser, "#pictures input[type=checkbox]")[1].click()
    assert len(all_of(browser, ".tiles figure")) == tiles + 6
    select(browser, "Score shown", "SCD")
    assert "SCD" in all_of(browser, ".tiles figcaption")[3].text


def test_pointing_at_a_tile_magnifies_all_of_them(browser: Any, pages: dict[str, Path]) -> None:
    open_page(browser, pages["evaluation"])
    transforms = (
        "return [...document.querySelectorAll('.tiles img')].map((i) => getComputedStyle(i).transform)"
    )
    view = all_of(browser, ".tiles .view")[3]
    browser.execute_script("arguments[0].scrollIntoView({block: 'center'})", view)
    webdriver.ActionChains(browser).move_to_element_with_offset(view, 20, 10).perform()
    assert set(browser.execute_script(transforms)) == {"matrix(3, 0, 0, 3, 0, 0)"}
    webdriver.ActionChains(browser).move_to_element(one(browser, "h1")).perform()
    assert set(browser.execute_script(transforms)) == {"matrix(1, 0, 0, 1, 0, 0)"}
    view.send_keys(Keys.ENTER)
    origin = "return getComputedStyle(document.querySelector('.tiles')).getPropertyValue('--x')"
    before = browser.execute_script(origin)
    view.send_keys(Keys.ARROW_RIGHT)
    assert browser.execute_script(origin) != before
    view.send_keys(Keys.ESCAPE)
    assert set(browser.execute_script(transforms)) == {"matrix(1, 0, 0, 1, 0, 0)"}


def test_a_tap_magnifies_and_a_second_one_ends_it(browser: Any, pages: dict[str, Path]) -> None:
    open_page(browser, pages["evaluation"], width=390)
    browser.execute_cdp_cmd("Emulation.setTouchEmulationEnabled", {"enabled": True})
    try:
        view = all_of(browser, ".tiles .view")[0]
        browser.execute_script("arguments[0].scrollIntoView({block: 'center'})", view)
        box = browser.execute_script("return arguments[0].getBoundingClientRect()", view)
        point = {"x": box["x"] + box["width"] / 4, "y": box["y"] + box["height"] / 2}
        for zoomed in (True, False):
            for kind, points in (("touchStart", [point]), ("touchEnd", [])):
                touch = {"type": kind, "touchPoints": points}
                browser.execute_cdp_cmd("Input.dispatchTouchEvent", touch)
            WebDriverWait(browser, 5).until(
                lambda driver, zoomed=zoomed: bool(all_of(driver, ".tiles.zoomed")) == zoomed
            )
    finally:
        browser.execute_cdp_cmd("Emulation.setTouchEmulationEnabled", {"enabled": False})


def test_the_before_after_slider(browser: Any, pages: dict[str, Path]) -> None:
    open_page(browser, pages["evaluation"])
    slider, stage = one(browser, ".compare > input"), one(browser, ".stage")
    clip = "return getComputedStyle(document.querySelector('.stage .over')).clipPath"
    assert "50%" in browser.execute_script(clip)
    slider.send_keys(Keys.HOME)
    assert "100%" in browser.execute_script(clip)
    slider.send_keys(Keys.ARROW_RIGHT)
    assert "99.5%" in browser.execute_script(clip)
    browser.execute_script("arguments[0].scrollIntoView({block: 'center'})", stage)
    quarter = -stage.size["width"] // 4
    webdriver.ActionChains(browser).move_to_element_with_offset(stage, quarter, 0).click().perform()
    assert float(slider.get_property("value")) == pytest.approx(25, abs=1)
    select(browser, "Left", "a")
    assert one(browser, ".stage .name.left").text == "a"
    names = [one(browser, f".stage .name.{side}").text for side in ("left", "right")]
    next(button for button in all_of(browser, ".compare button") if button.text == "Swap").click()
    assert [one(browser, f".stage .name.{side}").text for side in ("left", "right")] == names[::-1]


def test_plots_show_every_pair_and_lead_to_its_pictures(browser: Any, pages: dict[str, Path]) -> None:
    open_page(browser, pages["evaluation"])
    assert len(all_of(browser, "#metrics .dot")) == 3 * 6
    assert len(all_of(browser, ".wins tbody tr")) == 6
    select(browser, "Metric", "EN")
    assert "entropy" in one(browser, "#metrics .hint").text.lower()
    assert "noise" in one(browser, "#metrics .hint").text
    dots = all_of(browser, "#metrics .series:first-of-type .dot")
    browser.execute_script("arguments[0].dispatchEvent(new MouseEvent('click'))", dots[2])
    assert one(browser, "#pictures output").text == "3 / 3"


def test_a_training_page_has_curves_gates_and_pictures(browser: Any, pages: dict[str, Path]) -> None:
    open_page(browser, pages["training"])
    titles = [title.text for title in all_of(browser, ".chart strong")]
    assert "Cross-fusion gates λ" in titles and "something new" in titles
    gates = all_of(browser, ".chart")[0]
    assert len(all_of(gates, ".curve")) == 2
    assert [item.text for item in all_of(gates, ".legend li")] == [
        "λ of MM",
        "λ of DP",
    ]
    chart = one(gates, "svg")
    webdriver.ActionChains(browser).move_to_element(chart).perform()
    assert one(gates, ".readout").text.startswith("step ")
    slider = one(browser, "#pictures input[type=range]")
    assert one(browser, "#pictures output").text == "step 30"
    slider.send_keys(Keys.ARROW_LEFT)
    assert one(browser, "#pictures output").text == "step 20"
    assert EVIL in one(browser, ".settings").text


def test_labels_of_an_axis_tell_its_ticks_apart(browser: Any, tmp_path: Path) -> None:
    # Middle and swing: about a factor of two or far less on the logarithmic axes, and a flat curve.
    curves = {"mm_task": (1.0, 0.1), "mm_public": (0.05, 0.02), "dp_task": (2.3, 0.02), "dp_public": (3, 2.8)}
    curves |= {"lambda_mm": (0.5, 1e-5), "lambda_dp": (0.5, 2e-5), "lr": (1.5e-4, 1e-6), "odd": (2e5, 1e3)}
    curves |= {"mm_gradient_norm": (1.001, 0)}
    run = training_run(tmp_path / "run")
    with open(run / "metrics.jsonl", "w", encoding="utf-8") as file:
        for step in range(1, 20):
            numbers = {name: middle + swing * (step - 10) / 9 for name, (middle, swing) in curves.items()}
            file.write(json.dumps({"step": step, **numbers}) + "\n")
    open_page(browser, report(run, tmp_path / "page.html"))
    charts = all_of(browser, ".chart")
    assert len(charts) == 8
    for chart in charts:
        marks = all_of(chart, "text[text-anchor=end]")
        labels = [mark.text.replace("−", "-") for mark in marks]
        heights = np.array([float(mark.get_attribute("y")) for mark in marks])
        assert len(labels) >= 2 and len(set(labels)) == len(labels), labels
        # What a label says is where it stands.
        values = np.array([float(label) for label in labels])
        scaled = np.log(values) if "log scale" in chart.text else values
        np.testing.assert_allclose(
            (scaled - scaled[0]) / (scaled[-1] - scaled[0]),
            (heights - heights[0]) / (heights[-1] - heights[0]),
            atol=1e-3,
        )
        place = one(chart, "svg").rect
        assert all(text.rect["x"] >= place["x"] for text in all_of(chart, "text.axis"))


def test_the_theme_can_be_chosen(browser: Any, pages: dict[str, Path]) -> None:
    open_page(browser, pages["training"])
    colour = "return getComputedStyle(document.body).backgroundColor"
    light = browser.execute_script(colour)
    button = one(browser, "#theme")
    button.click()
    assert browser.execute_script(colour) == light and button.text.endswith("light")
    button.click()
    assert browser.execute_script(colour) != light and button.text.endswith("dark")
