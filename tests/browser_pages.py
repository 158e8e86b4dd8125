"""A real browser, and what tests do with a page in it."""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import Any

import pytest

webdriver = pytest.importorskip("selenium.webdriver")
from selenium.webdriver.common.by import By  # noqa: E402

BROWSER = shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")
DRIVER = shutil.which("chromedriver")


def start(profile: Path) -> Any:
    """A browser without a window, whose own requests are off."""
    options = webdriver.ChromeOptions()
    options.binary_location = BROWSER
    for flag in (
        "--headless",
        "--no-sandbox",
        "--disable-gpu",
        "--disable-quic",
        "--disable-dev-shm-usage",
        "--no-first-run",
        "--disable-background-networking",
        "--disable-component-update",
        "--disable-sync",
        f"--user-data-dir={profile}",
    ):
        options.add_argument(flag)
    options.set_capability("goog:loggingPrefs", {"browser": "ALL"})
    return webdriver.Chrome(options=options, service=webdriver.ChromeService(DRIVER))


def open_page(browser: Any, page: Path, width: int = 1280, dark: bool = False) -> None:
    size = {"width": width, "height": 900, "deviceScaleFactor": 1, "mobile": width < 600}
    browser.execute_cdp_cmd("Emulation.setDeviceMetricsOverride", size)
    theme = {"name": "prefers-color-scheme", "value": "dark" if dark else "light"}
    browser.execute_cdp_cmd("Emulation.setEmulatedMedia", {"features": [theme]})
    browser.get(page.as_uri())


def all_of(place: Any, selector: str) -> list[Any]:
    """The elements of a page, or within an element."""
    return place.find_elements(By.CSS_SELECTOR, selector)


def one(place: Any, selector: str) -> Any:
    return place.find_element(By.CSS_SELECTOR, selector)


def select(browser: Any, label: str, text: str) -> None:
    """Choose an option by the label of its list and the beginning of its text."""
    for field in all_of(browser, "label.field"):
        if field.text.startswith(label):
            for option in field.find_elements(By.TAG_NAME, "option"):
                if option.text.startswith(text):
                    option.click()
                    return
    raise AssertionError(f"no option {text} in {label}")
