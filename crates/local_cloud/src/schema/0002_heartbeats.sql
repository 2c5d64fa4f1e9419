ALTER TABLE activity RENAME COLUMN heard_at TO last_heartbeat_at;
