"""From the first sync on, in a running `dagster dev`. SQLMesh's own state says what is true."""

from __future__ import annotations

from pathlib import Path

from stack import CLIENT, GATED_MODEL, MIRROR, SYNC, Stack

CUSTOM_JOBS = ("send_email_job", "notify_slack", "internal_customers_pipeline")


def ended_custom_runs(stack: Stack) -> dict[str, int]:
    return {job: len(stack.ended_runs(job)) for job in CUSTOM_JOBS}


def letters_written(stack: Stack) -> list[str]:
    """The runs that materialized the asset downstream of a model."""
    query = """{ assetOrError(assetKey: {path: ["customer_letters"]}) { ... on Asset { assetMaterializations { runId } } } }"""
    return [event["runId"] for event in stack.graphql(query)["assetOrError"].get("assetMaterializations", [])]


def test_the_sensor_requests_one_sync_that_reports_what_the_plan_made(stack: Stack) -> None:
    (run,) = stack.wait_for_runs(SYNC, 1)
    assert run["status"] == "SUCCESS"
    filled = {name for name, intervals in stack.intervals().items() if intervals}
    assets = stack.assets()
    materialized = {name for name, node in assets.items() if node["assetMaterializations"]}
    assert {name for name in materialized if name.startswith("coffee.")} == {name for name in filled if name in assets}
    assert not any(node["isMaterializable"] for name, node in assets.items() if name.startswith("coffee."))


def test_checks_show_as_passed_and_failed(stack: Stack) -> None:
    results = [result for name in stack.assets() for result in stack.checks(name).values() if result]
    assert {result["status"] for result in results} == {"SUCCEEDED", "FAILED"}


def test_a_new_run_is_mirrored_with_what_sqlmesh_did(stack: Stack) -> None:
    before = stack.intervals()
    stack.run()
    run = stack.wait_for_runs(MIRROR, 1)[-1]
    assert run["status"] == "SUCCESS"
    after = stack.intervals()
    advanced = {name for name in after if after[name] != before[name]}
    assets = stack.assets()
    assert stack.materialized_by(run["runId"]) == {name for name in advanced if name in assets}
    assert {step["status"] for step in stack.steps(run["runId"]).values()} == {"SUCCESS"}


def test_a_failed_model_fails_its_step_with_the_remote_message(stack: Stack) -> None:
    stack.wait_for_ticks()
    before, letters = ended_custom_runs(stack), letters_written(stack)
    assert (before["send_email_job"], before["notify_slack"]) == (1, 1)
    stack.run(COFFEE_MACHINE="broken")
    run = stack.wait_for_runs(MIRROR, 2)[-1]
    assert run["status"] == "FAILURE"
    failures = stack.failures(run["runId"])
    assert set(failures) == {"coffee_ops_machine_readings"}
    assert "does not answer" in str(failures["coffee_ops_machine_readings"])
    assert f"{stack.cloud}/environments/prod/runs/" in str(failures["coffee_ops_machine_readings"])
    assert "coffee_ops_machine_alerts" not in stack.steps(run["runId"])  # what depends on it is not executed
    materialized = stack.materialized_by(run["runId"])
    assert "coffee.sales.customers" in materialized
    assert "coffee.ops.machine_readings" not in materialized

    # The user's own logic has fired once for each event: the start, no success, the customers' new data.
    stack.wait_for_ticks()
    fired = {job: count - before[job] for job, count in ended_custom_runs(stack).items()}
    assert fired == {"send_email_job": 0, "notify_slack": 1, "internal_customers_pipeline": 1}
    assert len(letters_written(stack)) == len(letters) + 1


def test_a_second_sync_fires_nothing(stack: Stack) -> None:
    before, letters = ended_custom_runs(stack), letters_written(stack)
    run_id = stack.launch(SYNC)
    assert stack.wait_for_run(run_id) == "SUCCESS"
    assert stack.materialized_by(run_id) == set()
    stack.wait_for_ticks()
    assert (ended_custom_runs(stack), letters_written(stack)) == (before, letters)


def test_a_live_run_appears_step_by_step_with_models_that_a_plan_added(stack: Stack) -> None:
    folder = stack.project / "models" / "live"
    folder.mkdir()
    gates = {name: stack.folder / f"{name}_may_end" for name in ("first", "second")}
    for name, parent in (("first", "seeds.shops"), ("second", "live.first")):
        gates[name].touch()
        (folder / f"{name}.py").write_text(GATED_MODEL.format(name=name, parent=parent, gate=str(gates[name])))
    stack.plan("--execution-time", "2 hours ago")
    stack.run()
    # The models that the plan added are there with the next run, without a click.
    stack.wait_for("the new models", lambda: "coffee.live.second" in stack.assets(), 240)
    # On 1.9.1 the sensor waits some ticks until the daemon's own code server is renewed, too.
    stack.wait_for_runs(MIRROR, 3, 300)
    assert stack.assets()["coffee.live.second"]["assetMaterializations"]

    # Launched by hand while SQLMesh runs: the newest run is followed, and its steps are seen to start and end with it.
    for gate in gates.values():
        gate.unlink()
    process = stack.run_loop()
    stack.wait_for("the new run", stack.a_run_goes_on)
    run_id = stack.launch(MIRROR)

    def status(name: str) -> str | None:
        return stack.steps(run_id).get(f"coffee_live_{name}", {}).get("status")

    stack.wait_for("the start of the first step", lambda: status("first") == "IN_PROGRESS")
    gates["first"].touch()
    stack.wait_for("its end, and the start of the second", lambda: status("second") == "IN_PROGRESS")
    assert status("first") == "SUCCESS"
    assert process.poll() is None  # SQLMesh is still at the second
    gates["second"].touch()
    assert stack.wait_for_run(run_id) == "SUCCESS"
    assert process.wait(timeout=240) == 0
    assert status("second") == "SUCCESS"


def test_a_check_by_hand_shows_the_true_last_result(stack: Stack) -> None:
    asset = "coffee.sales.orders"
    before = stack.checks(asset)
    name = next(name for name, result in before.items() if result)
    run_id = stack.launch(
        "__ASSET_JOB",
        assetSelection=[],
        assetCheckSelection=[{"assetKey": {"path": asset.split(".")}, "name": name}],
    )
    assert stack.wait_for_run(run_id) == "SUCCESS"
    after = stack.checks(asset)
    assert after[name]["status"] == before[name]["status"]
    assert after[name]["runId"] == run_id
    assert {other: result for other, result in after.items() if other != name} == {
        other: result for other, result in before.items() if other != name
    }


def test_no_secret_is_in_what_dagster_keeps(stack: Stack) -> None:
    secret = CLIENT["TCLOUD_CLIENT_SECRET"].encode()
    files = [path for path in stack.folder.rglob("*") if path.is_file()]
    assert len(files) > 20
    assert not [str(path) for path in files if secret in _content(path)]
    query = "{ repositoriesOrError { ... on RepositoryConnection { nodes { allTopLevelResourceDetails { name configuredValues { key value } } } } } }"
    assert CLIENT["TCLOUD_CLIENT_SECRET"] not in str(stack.graphql(query))


def _content(path: Path) -> bytes:
    """SQLite removes its write-ahead log when the last connection closes, maybe just now: all of it is in the database then."""
    try:
        return path.read_bytes()
    except FileNotFoundError:
        return b""
