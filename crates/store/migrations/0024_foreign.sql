-- Whether a payment is by the card of an international organisation (外卡), as it was judged when it came: what the table of
-- card numbers says later changes no batch. The same as a terminal's detail tells it.
ALTER TABLE payment ADD COLUMN foreign_card SMALLINT NOT NULL DEFAULT 0;
ALTER TABLE batch_line ADD COLUMN foreign_card SMALLINT;
