-- When a node is due. NULL: not known, or never.
ALTER TABLE dag_node ADD COLUMN cron TEXT;
