-- Times are microseconds since 1970. `seq` counts in the order in which the server came to know something.

-- The events accepted so far: sent twice, an event is accepted once.
CREATE TABLE event (
    id TEXT PRIMARY KEY,
    received_at INTEGER NOT NULL
) WITHOUT ROWID;

-- Runs and plans.
CREATE TABLE activity (
    seq INTEGER PRIMARY KEY AUTOINCREMENT,
    kind TEXT NOT NULL CHECK (kind IN ('run', 'plan')),
    id TEXT NOT NULL,
    environment TEXT NOT NULL,
    status TEXT NOT NULL,
    start_at INTEGER,
    end_at INTEGER,
    error_message TEXT,
    heard_at INTEGER NOT NULL,
    UNIQUE (kind, id)
);
CREATE INDEX activity_by_environment ON activity (environment, kind, seq);
CREATE INDEX activity_open ON activity (heard_at) WHERE end_at IS NULL;

-- What was done for a node, one row for each batch. It belongs to the node's version, in whatever environment it was made.
CREATE TABLE evaluation (
    seq INTEGER PRIMARY KEY AUTOINCREMENT,
    id TEXT NOT NULL UNIQUE,
    activity INTEGER NOT NULL REFERENCES activity (seq),
    node_name TEXT NOT NULL,
    version TEXT NOT NULL,
    interval_start INTEGER,
    interval_end INTEGER,
    status TEXT NOT NULL,
    start_at INTEGER,
    end_at INTEGER,
    error_message TEXT,
    log TEXT
);
CREATE INDEX evaluation_by_activity ON evaluation (activity);
CREATE INDEX evaluation_by_node ON evaluation (node_name, version, start_at, seq);
-- Those that have not started come last.
CREATE INDEX evaluation_by_start ON evaluation (start_at IS NULL, start_at, seq);

CREATE TABLE audit (
    seq INTEGER PRIMARY KEY AUTOINCREMENT,
    evaluation INTEGER NOT NULL REFERENCES evaluation (seq) ON DELETE CASCADE,
    name TEXT NOT NULL,
    args TEXT,
    status TEXT NOT NULL,
    blocking INTEGER NOT NULL,
    count INTEGER,
    execution_time INTEGER NOT NULL,
    interval_start INTEGER NOT NULL,
    interval_end INTEGER NOT NULL,
    log TEXT
);
CREATE INDEX audit_by_evaluation ON audit (evaluation);

-- The DAGs that an environment has had: the newest is the one it has.
CREATE TABLE dag (
    seq INTEGER PRIMARY KEY AUTOINCREMENT,
    environment TEXT NOT NULL,
    plan_id TEXT,
    at INTEGER NOT NULL,
    start_at INTEGER NOT NULL,
    schedule_cron TEXT NOT NULL,
    schedule_seconds INTEGER NOT NULL
);
CREATE INDEX dag_by_environment ON dag (environment, seq);

-- Lists are JSON.
CREATE TABLE dag_node (
    dag INTEGER NOT NULL REFERENCES dag (seq) ON DELETE CASCADE,
    name TEXT NOT NULL,
    position INTEGER NOT NULL,
    version TEXT NOT NULL,
    model_name TEXT NOT NULL,
    description TEXT,
    source_type TEXT NOT NULL,
    type TEXT NOT NULL,
    tags TEXT NOT NULL,
    parent_names TEXT NOT NULL,
    audit_names TEXT NOT NULL,
    PRIMARY KEY (dag, name)
) WITHOUT ROWID;
CREATE INDEX dag_node_by_name ON dag_node (name, version);
