-- A payment's row is written twice: begun, and answered. The second writing stays on the row's page and touches no
-- index as long as no index holds a column that it changes, and the page has room. So what is under way has a table of
-- its own in place of an index over the state, pre-authorisations are found by merchant and card alone, and half of
-- each page is left to the second writing.
DROP INDEX payment_open;
CREATE TABLE payment_under_way (
    merchant TEXT   NOT NULL,
    id       BIGINT NOT NULL,
    PRIMARY KEY (merchant, id)
) WITH (autovacuum_vacuum_scale_factor = 0, autovacuum_vacuum_threshold = 20000, autovacuum_analyze_scale_factor = 0,
    autovacuum_analyze_threshold = 1000000);
INSERT INTO payment_under_way SELECT merchant, id FROM payment WHERE state IN ('pending', 'unresolved', 'reversing');

DROP INDEX payment_authorisation;
CREATE INDEX payment_preauth ON payment (merchant, card_digest, id) WHERE kind = 'preauth';

ALTER TABLE payment SET (fillfactor = 50);
