"""What a person sees: Dagster's pages and the local cloud's, in headless Chromium."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path

import pytest
from selenium import webdriver
from selenium.webdriver.common.by import By
from selenium.webdriver.support.ui import WebDriverWait
from stack import CLIENT, MIRROR, Stack

FLAGS = (
    "--headless=new",
    "--no-sandbox",
    "--disable-gpu",
    "--disable-dev-shm-usage",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
    "--window-size=1500,1100",
)


@pytest.fixture(scope="module")
def browser(tmp_path_factory: pytest.TempPathFactory) -> Iterator[webdriver.Chrome]:
    options = webdriver.ChromeOptions()
    options.binary_location = "/usr/bin/chromium"
    for flag in (*FLAGS, f"--user-data-dir={tmp_path_factory.mktemp('chromium')}"):
        options.add_argument(flag)
    browser = webdriver.Chrome(options=options, service=webdriver.ChromeService("/usr/bin/chromedriver"))
    try:
        yield browser
    finally:
        browser.quit()


def see(browser: webdriver.Chrome, url: str, *texts: str) -> None:
    """Opens the page and waits until it shows all texts. With SCREENSHOTS set, keeps a picture there."""
    browser.get(url)

    def shows_all(_: webdriver.Chrome) -> bool:
        body = browser.find_element(By.TAG_NAME, "body").text
        return all(text in body for text in texts)

    try:
        WebDriverWait(browser, 120).until(shows_all)
    finally:
        folder = os.environ.get("SCREENSHOTS")
        if folder:
            Path(folder).mkdir(parents=True, exist_ok=True)
            name = "".join(c if c.isalnum() else "_" for c in url.split("//")[1].split("/", 1)[-1])[:80]
            browser.save_screenshot(str(Path(folder) / f"{name or 'index'}.png"))


def test_the_assets_are_in_the_catalog(stack: Stack, browser: webdriver.Chrome) -> None:
    see(browser, f"{stack.page}/assets", "coffee")
    see(browser, f"{stack.page}/assets/coffee/sales/orders", "Log Link", "Tobiko Cloud Execution Id")


def test_an_assets_checks_are_listed_with_their_results(stack: Stack, browser: webdriver.Chrome) -> None:
    names = [name for name, result in stack.checks("coffee.sales.orders").items() if result]
    see(browser, f"{stack.page}/assets/coffee/sales/orders?view=checks", *names)


def test_a_mirror_runs_page_shows_its_steps(stack: Stack, browser: webdriver.Chrome) -> None:
    """Names of steps are cut where their bars are short; how many went well is not."""
    run = stack.ended_runs(MIRROR)[-1]
    steps = stack.steps(run["runId"])
    assert {step["status"] for step in steps.values()} == {"SUCCESS"}
    see(browser, f"{stack.page}/runs/{run['runId']}", f"Succeeded ({len(steps)})", f"{len(steps)} tasks were reported")


def test_a_link_leads_to_the_local_clouds_page_of_that_evaluation(stack: Stack, browser: webdriver.Chrome) -> None:
    materialization = stack.assets()["coffee.sales.orders"]["assetMaterializations"][0]
    entries = {entry["label"]: entry for entry in materialization["metadataEntries"]}
    see(browser, f"{stack.page}/assets/coffee/sales/orders", "Log Link")
    shown = [link.get_attribute("href") for link in browser.find_elements(By.TAG_NAME, "a")]
    assert entries["Log Link"]["url"] in shown
    # Its pages ask for the login.
    login = "{TCLOUD_CLIENT_ID}:{TCLOUD_CLIENT_SECRET}@".format(**CLIENT)
    see(browser, entries["Log Link"]["url"].replace("://", f"://{login}", 1), "orders", "success")
