-- What was approved without the network: an adjustment leaves its original's amount as it was and says what it became.
ALTER TABLE payment ADD COLUMN adjusted BIGINT;
-- Sealed chip data that a queued message needs and nothing else may keep; taken away when the item is finished.
ALTER TABLE forward ADD COLUMN payload BYTEA;
