ALTER TABLE activity RENAME COLUMN heard_at TO last_heartbeat_at;

-- A SQLMesh project, or several that share their state. `state` identifies SQLMesh's state database; NULL: not known.
CREATE TABLE project (
    seq INTEGER PRIMARY KEY AUTOINCREMENT,
    name TEXT NOT NULL UNIQUE,
    state TEXT
);
-- What was recorded before there were projects belongs to the nameless one.
INSERT INTO project (seq, name) SELECT 1, '' WHERE EXISTS (SELECT 1 FROM activity) OR EXISTS (SELECT 1 FROM dag);

ALTER TABLE activity ADD COLUMN project INTEGER NOT NULL DEFAULT 1;
ALTER TABLE evaluation ADD COLUMN project INTEGER NOT NULL DEFAULT 1;
ALTER TABLE dag ADD COLUMN project INTEGER NOT NULL DEFAULT 1;
DROP INDEX activity_by_environment;
DROP INDEX evaluation_by_node;
DROP INDEX evaluation_by_start;
DROP INDEX dag_by_environment;
CREATE INDEX activity_by_environment ON activity (project, environment, kind, seq);
CREATE INDEX evaluation_by_node ON evaluation (project, node_name, version, start_at, seq);
-- Those that have not started come last.
CREATE INDEX evaluation_by_start ON evaluation (project, start_at IS NULL, start_at, seq);
CREATE INDEX dag_by_environment ON dag (project, environment, seq);

-- Nothing was loaded, only audited.
ALTER TABLE evaluation ADD COLUMN only_audits INTEGER NOT NULL DEFAULT 0;

-- Counts the plans in the order in which they ended.
CREATE TABLE plan_end (
    seq INTEGER PRIMARY KEY AUTOINCREMENT,
    activity INTEGER NOT NULL UNIQUE REFERENCES activity (seq) ON DELETE CASCADE
);
INSERT INTO plan_end (activity) SELECT seq FROM activity WHERE kind = 'plan' AND end_at IS NOT NULL ORDER BY end_at, seq;

-- The nodes that a run intends to evaluate; a JSON list.
CREATE TABLE due_nodes (
    activity INTEGER PRIMARY KEY REFERENCES activity (seq) ON DELETE CASCADE,
    node_names TEXT NOT NULL
);

-- A run or plan of a deleted environment that another environment's nodes were evaluated by: only links lead to it.
ALTER TABLE activity ADD COLUMN is_hidden INTEGER NOT NULL DEFAULT 0;

-- When an environment was deleted: an older DAG of it that arrives late is ignored.
CREATE TABLE environment_deletion (
    project INTEGER NOT NULL,
    environment TEXT NOT NULL,
    at INTEGER NOT NULL,
    PRIMARY KEY (project, environment)
) WITHOUT ROWID;
