-- A network answers a repeat as it answered the first, so what it has refused stays refused however often it is
-- repeated. After a refusal the item goes out as a new message, with a transmission time of its own.
-- Refusals are counted apart from silence: only they park an item.
ALTER TABLE forward ADD COLUMN refusals INTEGER NOT NULL DEFAULT 0;
ALTER TABLE forward ADD COLUMN message_at BIGINT NOT NULL DEFAULT 0;
ALTER TABLE forward ADD COLUMN message_tries INTEGER NOT NULL DEFAULT 0;
UPDATE forward SET message_at = created, message_tries = attempts;
