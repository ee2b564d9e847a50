-- Several nodes on one store: a node reads the sessions again that another node has changed.
ALTER TABLE terminal ADD COLUMN session_version BIGINT NOT NULL DEFAULT 0;
CREATE INDEX terminal_session ON terminal (session_version);
