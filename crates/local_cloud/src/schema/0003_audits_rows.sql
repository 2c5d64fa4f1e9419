-- The audits of a node with their arguments; a JSON list, empty where the recorder says only their names.
ALTER TABLE dag_node ADD COLUMN audits TEXT NOT NULL DEFAULT '[]';

-- NULL: not known.
ALTER TABLE evaluation ADD COLUMN rows_processed INTEGER;
ALTER TABLE audit ADD COLUMN duration_seconds REAL;
