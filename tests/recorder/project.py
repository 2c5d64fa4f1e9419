"""A small SQLMesh project with every case, and a witness: what SQLMesh itself reports."""

from __future__ import annotations

import contextlib
import os
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import duckdb
from sqlmesh import Context
from sqlmesh.core import console

CONFIG = """\
gateways:
  local:
    connection: {type: duckdb, %(location)s, concurrent_tasks: 2}
default_gateway: local
model_defaults: {dialect: duckdb, start: 2024-01-01}
"""

# Settings that the oldest version lacks.
NEWER_CONFIG = """\
cache_dir: %(cache)s
before_all:
  - CREATE SCHEMA IF NOT EXISTS ext
  - CREATE TABLE IF NOT EXISTS ext.source AS SELECT 1 AS id
"""

FILES = {
    "external_models.yaml": "- name: ext.source\n  columns: {id: int}\n",
    "seeds/ref.csv": "id,name\n1,one\n2,two\n",
    "models/ref.sql": """
        MODEL (name t.ref, kind SEED (path '$root/seeds/ref.csv'), columns (id INT, name TEXT));
    """,
    "models/facts.sql": """
        MODEL (
          name t.facts, kind INCREMENTAL_BY_TIME_RANGE (time_column day, batch_size 1), cron '@daily',
          end '2024-01-10', description 'Two rows a day.', tags (a, b),
          audits (not_null(columns := (id)), not_null(columns := (day)), few_rows)
        );
        SELECT d.day, r.id FROM t.ref AS r
        CROSS JOIN (
          SELECT UNNEST(GENERATE_SERIES(@start_ds::DATE, @end_ds::DATE, INTERVAL 1 DAY))::DATE AS day
        ) AS d
        WHERE d.day BETWEEN @start_ds AND @end_ds
    """,
    "models/total.sql": """
        MODEL (name t.total, kind FULL, cron '@daily');
        SELECT COUNT(*) AS rows_of_facts, MAX(s.id) AS source_id
        FROM t.facts AS f CROSS JOIN ext.source AS s
    """,
    "models/total_view.sql": """
        MODEL (name t.total_view, kind VIEW, cron '@daily');
        SELECT rows_of_facts FROM t.total
    """,
    "models/checked.py": """
        import os
        import time
        import typing as t
        import pandas as pd
        from sqlmesh import model

        @model("t.checked", kind="FULL", cron="@daily", columns={"id": "int"}, audits=[("positive", {})])
        def execute(context, **kwargs: t.Any) -> pd.DataFrame:
            request = os.environ.get("TEST_CHECKED", "")
            if request == "raise":
                raise ValueError("checked fails on request")
            if request.startswith("sleep"):
                time.sleep(float(request.split()[1]))
            return pd.DataFrame({"id": [-1 if request == "negative" else 1]})
    """,
    "models/after_checked.sql": """
        MODEL (name t.after_checked, kind FULL, cron '@daily');
        SELECT id FROM t.checked
    """,
    "audits/few_rows.sql": "AUDIT (name few_rows, blocking false);\nSELECT * FROM @this_model",
    "audits/positive.sql": "AUDIT (name positive);\nSELECT * FROM @this_model WHERE id < 0",
    "audits/whole.sql": """
        AUDIT (name whole, standalone true, cron '@daily');
        SELECT f.id FROM t.facts AS f LEFT JOIN t.ref AS r ON f.id = r.id WHERE r.id IS NULL
    """,
}

ALL_BUT_EXTERNAL = {
    '"shop"."t"."ref"',
    '"shop"."t"."facts"',
    '"shop"."t"."total"',
    '"shop"."t"."total_view"',
    '"shop"."t"."checked"',
    '"shop"."t"."after_checked"',
    "whole",
}


IS_NEWER = hasattr(console, "NoopConsole")  # than the oldest version that the recorder supports


def silent_console() -> Any:
    """A console class that prints nothing and applies plans: SQLMesh's own, or one for the oldest version."""
    if IS_NEWER:
        return console.NoopConsole
    nothing = {name: lambda *_, **__: True for name in console.Console.__abstractmethods__}
    return type("Silent", (console.Console,), {**nothing, "plan": lambda _, builder, *__, **___: builder.apply()})


class Witness(silent_console()):  # type: ignore[misc]
    """What SQLMesh reports to its console: the truth to compare the records with.

    The oldest version reports batches, but neither audits nor failed nor skipped nodes.
    """

    def __init__(self) -> None:
        self.batches: list[tuple[str, int, int, bool]] = []  # node, audits passed, audits failed, went well
        self.failed: set[str] = set()
        self.skipped: set[str] = set()

    def update_snapshot_evaluation_progress(self, snapshot: Any, *args: Any, **_: Any) -> None:
        if IS_NEWER:
            _interval, _batch, milliseconds, passed, failed = args[:5]
        else:
            (_batch, milliseconds), passed, failed = args, 0, 0
        self.batches.append((snapshot.name, passed, failed, milliseconds is not None))

    def log_failed_models(self, errors: Any) -> None:
        self.failed |= {getattr(error.node, "snapshot_name", None) or error.node.name for error in errors}

    def log_skipped_models(self, names: Any) -> None:
        self.skipped |= set(names)


class Project:
    """The project in a folder of its own; every day of January 2024 is one interval."""

    def __init__(self, root: Path, copy_of: Project | None = None) -> None:
        self.root = root
        self.witness = Witness()
        if copy_of is not None:
            shutil.copytree(copy_of.root, root)
        else:
            for path, text in FILES.items():
                self.write(path, text)
        database = root / "shop.db"
        location = f"catalogs: {{shop: '{database}'}}" if IS_NEWER else f"database: '{database}'"
        config = CONFIG + NEWER_CONFIG if IS_NEWER else CONFIG
        self.write("config.yaml", config % {"location": location, "cache": root / ".cache"})
        if not IS_NEWER and copy_of is None:
            with duckdb.connect(str(database)) as connection:
                connection.execute("CREATE SCHEMA ext; CREATE TABLE ext.source AS SELECT 1 AS id")

    def write(self, path: str, text: str) -> None:
        file = self.root / path
        file.parent.mkdir(parents=True, exist_ok=True)
        lines = text.strip("\n").split("\n")
        indent = len(lines[0]) - len(lines[0].lstrip())
        file.write_text("\n".join(line[indent:] for line in lines) + "\n")

    def remove(self, *paths: str) -> None:
        for path in paths:
            (self.root / path).unlink()

    @contextlib.contextmanager
    def context(self) -> Any:
        self.witness = Witness()
        if IS_NEWER:
            console.set_console(self.witness)
            context = Context(paths=[str(self.root)])
        else:
            context = Context(paths=[str(self.root)], console=self.witness)
        try:
            yield context
        finally:
            context.close()

    def plan(self, day: int = 4, environment: str = "prod", **options: Any) -> Any:
        """Plans with all the days before that one."""
        when = f"2024-01-{day:02}"
        with self.context() as context:
            return context.plan(environment, auto_apply=True, no_prompts=True, execution_time=when, **options)

    def run(self, day: int, environment: str = "prod", **options: Any) -> Any:
        when = f"2024-01-{day:02}"
        with self.context() as context:
            return context.run(environment, end=when, execution_time=when, skip_janitor=True, **options)

    def query(self, sql: str) -> list[Any]:
        with self.context() as context:
            return list(context.fetchdf(sql).itertuples(index=False, name=None))

    def days_filled(self, node: str, environment: str = "prod") -> int:
        with self.context() as context:
            snapshots = context.state_reader.get_snapshots(context.state_reader.get_environment(environment).snapshots)
            intervals = next(s.intervals for s in snapshots.values() if s.name == node)
        return sum(end - start for start, end in intervals) // 86_400_000

    def command(self, *arguments: str, recorded: bool = True, **environment: str) -> subprocess.Popen[str]:
        """SQLMesh's command line in a process of its own, with or without the recorder."""
        own = [str(Path(sys.executable).with_name("sqlmesh"))]
        command = [sys.executable, "-m", "tobikodata.sqlmesh_recorder"] if recorded else own
        return subprocess.Popen(
            [*command, *arguments],
            cwd=self.root,
            env={**os.environ, "COLUMNS": "200", **environment},
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )
