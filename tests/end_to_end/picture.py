"""Takes docs/live-run.png: the page of a mirror in Dagster while its remote run goes on. Run by `make picture`.

A scripted cloud plays the run, so that the picture is the same each time: good steps, one failed, some under way.
"""

from __future__ import annotations

import contextlib
import json
import os
import signal
import socket
import subprocess
import sys
import tempfile
import time
import urllib.error
import urllib.request
from collections.abc import Callable
from pathlib import Path
from typing import Any, TypeVar

from selenium import webdriver
from selenium.webdriver.common.by import By

REPOSITORY = Path(__file__).parents[2]
PICTURE = REPOSITORY / "docs" / "live-run.png"
T = TypeVar("T")
WINDOW = (1280, 720)
MIRROR = "tobiko_cloud_mirror_run_prod"
TIME_LIMIT_S = 180

SOURCES = ("seeds.shops", "seeds.products", "raw.weather")
MODELS = {
    "sales.orders": ["seeds.shops", "seeds.products"],
    "sales.customers": ["sales.orders"],
    "sales.order_values": ["sales.orders"],
    "ops.busy_hours": ["sales.orders"],
    "ops.machine_readings": ["seeds.shops"],
    "sales.orders_by_city": ["sales.order_values"],
    "sales.revenue_by_product": ["sales.order_values"],
    "sales.weather_effect": ["sales.order_values", "raw.weather"],
    "ops.machine_alerts": ["ops.machine_readings"],
    "sales.revenue_by_shop": ["sales.orders_by_city"],
    "ops.shop_dashboard": ["sales.revenue_by_shop", "sales.weather_effect"],
}


def quoted(name: str) -> str:
    return ".".join(f'"{part}"' for part in ("coffee", *name.split(".")))


def scenario() -> dict[str, Any]:
    nodes = [
        {"name": quoted(name), "source_type": "external" if name.startswith("raw") else "seed"} for name in SOURCES
    ]
    nodes += [
        {"name": quoted(name), "parents": [quoted(parent) for parent in parents], "audits": ["not_null"]}
        for name, parents in MODELS.items()
    ]
    return {"environments": [{"nodes": nodes}], "runs": [{"id": "last-night", "start_s": -36000}]}


RUN = {
    "id": "this-morning",
    "task_s": 4,
    "lanes": 3,
    "nodes": {
        quoted("ops.machine_readings"): {
            "status": "failed",
            "message": "the machine of shop 3 does not answer",
            "task_s": 3,
        },
        quoted("sales.customers"): {"status": "success", "task_s": 6},
        quoted("sales.weather_effect"): {"status": "success", "task_s": 600},
        quoted("sales.revenue_by_product"): {"status": "success", "task_s": 600},
        quoted("sales.revenue_by_shop"): {"status": "success", "task_s": 600},
    },
    "ends": "never",
}


def main() -> int:
    executable = os.environ.get("TOBIKO_FACADE_EXECUTABLE") or str(Path(sys.executable).parent / "tobiko-facade")
    processes: list[subprocess.Popen[str]] = []
    with tempfile.TemporaryDirectory(ignore_cleanup_errors=True) as name:
        folder = Path(name)
        try:
            take(folder, executable, processes)
        finally:
            for process in reversed(processes):
                process.terminate()
                process.wait(timeout=60)
                # The mirror's run worker is in the same session: its remote run would never end.
                with contextlib.suppress(ProcessLookupError):
                    os.killpg(process.pid, signal.SIGKILL)
    print(f"{PICTURE.relative_to(REPOSITORY)}: {PICTURE.stat().st_size // 1024} kB")
    return 0


def take(folder: Path, executable: str, processes: list[subprocess.Popen[str]]) -> None:
    (folder / "scenario.json").write_text(json.dumps(scenario()))
    (folder / "dagster.yaml").write_text("telemetry:\n  enabled: false\nnux:\n  enabled: false\n")
    serve = [executable, "serve", "--listen", "127.0.0.1:0", "--scenario", str(folder / "scenario.json")]
    log = (folder / "log").open("w")
    cloud = subprocess.Popen(serve, stdout=subprocess.PIPE, stderr=log, text=True, start_new_session=True)
    processes.append(cloud)
    assert cloud.stdout
    started = json.loads(cloud.stdout.readline())
    port = free_port()
    page = f"http://127.0.0.1:{port}"
    env = {
        **os.environ,
        "TCLOUD_BASE_URL": started["base_url"],
        "DAGSTER_HOME": str(folder),
        "TOBIKO_FACADE_EXECUTABLE": executable,
        "NO_PROXY": "127.0.0.1",
    }
    dev = [sys.executable, "-m", "dagster", "dev", "--host", "127.0.0.1", "--port", str(port)]
    project = REPOSITORY / "examples" / "dagster_project"
    processes.append(
        subprocess.Popen(dev, env=env, cwd=project, stdout=log, stderr=log, text=True, start_new_session=True)
    )
    wait_for(
        "the code location", lambda: post(f"{page}/graphql", {"query": "{ assetNodes { id } }"})["data"]["assetNodes"]
    )

    post(f"{started['control_url']}/control/runs", RUN)
    run_id = wait_for("the sensor's mirror", lambda: mirror(page))
    wait_for("a failed step and two under way", lambda: is_worth_a_picture(page, run_id))
    browser = chromium(folder)
    try:
        browser.get(f"{page}/runs/{run_id}")
        wait_for("the run's page", lambda: "Executing" in browser.find_element(By.TAG_NAME, "body").text)
        arrange(browser)
        time.sleep(3)  # the page draws its bars with an animation, which has no end that could be seen
        browser.save_screenshot(str(PICTURE))
    finally:
        browser.quit()


def mirror(page: str) -> str | None:
    """The id of the mirror job's only run."""
    query = "query ($job: String!) { runsOrError(filter: {pipelineName: $job}) { ... on Runs { results { runId } } } }"
    answer = post(f"{page}/graphql", {"query": query, "variables": {"job": MIRROR}})
    runs = answer["data"]["runsOrError"]["results"]
    return runs[0]["runId"] if runs else None


def is_worth_a_picture(page: str, run_id: str) -> bool:
    query = "query ($id: ID!) { runOrError(runId: $id) { ... on Run { stepStats { status } } } }"
    answer = post(f"{page}/graphql", {"query": query, "variables": {"id": run_id}})
    statuses = [step["status"] for step in answer["data"]["runOrError"]["stepStats"]]
    return "FAILURE" in statuses and statuses.count("IN_PROGRESS") >= 2 and statuses.count("SUCCESS") >= 7


def chromium(folder: Path) -> webdriver.Chrome:
    options = webdriver.ChromeOptions()
    options.binary_location = "/usr/bin/chromium"
    size = f"--window-size={WINDOW[0]},{WINDOW[1]}"
    for flag in ("--headless=new", "--no-sandbox", "--disable-gpu", "--no-first-run", "--hide-scrollbars", size):
        options.add_argument(flag)
    options.add_argument(f"--user-data-dir={folder / 'chromium'}")
    return webdriver.Chrome(options=options, service=webdriver.ChromeService("/usr/bin/chromedriver"))


def arrange(browser: webdriver.Chrome) -> None:
    """The steps as a waterfall over the whole page, without the navigation: buttons without names, in one row."""
    browser.find_element(By.XPATH, "//*[text()='Hide navigation']").click()
    terminate = browser.find_element(By.XPATH, "//button[contains(., 'Terminate')]")
    buttons = browser.find_elements(By.TAG_NAME, "button")
    row = [button for button in buttons if abs(button.location["y"] - terminate.location["y"]) < 12]
    row.sort(key=lambda button: button.location["x"])
    row[1].click()
    row[3].click()


def wait_for(what: str, is_there: Callable[[], T]) -> T:
    until = time.monotonic() + TIME_LIMIT_S
    while time.monotonic() < until:
        try:
            found = is_there()
            if found:
                return found
        except (urllib.error.URLError, OSError, KeyError, TypeError):
            pass
        time.sleep(0.3)
    raise TimeoutError(f"{what} did not come within {TIME_LIMIT_S} s")


def post(url: str, body: dict[str, Any]) -> dict[str, Any]:
    request = urllib.request.Request(url, json.dumps(body).encode(), {"Content-Type": "application/json"})
    with urllib.request.build_opener(urllib.request.ProxyHandler({})).open(request, timeout=30) as response:
        answer: dict[str, Any] = json.load(response)
    return answer


def free_port() -> int:
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        return int(listener.getsockname()[1])


if __name__ == "__main__":
    sys.exit(main())
