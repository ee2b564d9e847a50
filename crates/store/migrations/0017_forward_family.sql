-- Order on a line matters only between messages about the same payments: an item belongs to the family of the payment
-- on which its own stands in the end (the sale of a void, the pre-authorisation of a completion's void).
ALTER TABLE forward ADD COLUMN family BIGINT NOT NULL DEFAULT 0;
UPDATE forward SET family = payment;
UPDATE forward SET family = COALESCE(
    (SELECT p.original FROM payment p WHERE p.merchant = forward.merchant AND p.id = forward.family), family);
UPDATE forward SET family = COALESCE(
    (SELECT p.original FROM payment p WHERE p.merchant = forward.merchant AND p.id = forward.family), family);

-- Whose turn it is, and who of a family comes first.
CREATE INDEX forward_due ON forward (line, next_at, sequence) WHERE done_at IS NULL AND status = 'waiting';
CREATE INDEX forward_family ON forward (merchant, family, sequence) WHERE done_at IS NULL AND status = 'waiting';
