-- Wrong MACs of a terminal since its session last changed: nodes that share a store count them together.
ALTER TABLE terminal ADD COLUMN wrong_macs BIGINT NOT NULL DEFAULT 0;
