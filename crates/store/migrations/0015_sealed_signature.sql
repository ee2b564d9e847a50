-- Images of signatures are sealed by the security module; those of before are sealed by the node when it starts.
ALTER TABLE signature_part ADD COLUMN sealed SMALLINT NOT NULL DEFAULT 0;
