-- New rows go to the end of every tree of the payment path, so that a group of payments changes few pages:
--
-- - a payment is found by its number, which rises; only the terminal's key is spread over its tree;
-- - the reference number begins with the day and rises with it, so it leads its index;
-- - history is kept in the order in which it happens;
-- - one merchant's payments are found through the terminal's key or through time, whichever is shorter: an index of
--   each merchant's times cost every payment a page of its own.
--
-- `room` is taken by the answer when it comes: a row that does not grow does not push its neighbours out of their page.

CREATE TABLE payment_in_order (
    id              INTEGER  NOT NULL PRIMARY KEY,
    merchant        TEXT     NOT NULL,
    terminal        TEXT     NOT NULL,
    batch           INTEGER  NOT NULL,
    trace           INTEGER  NOT NULL,
    kind            TEXT     NOT NULL,
    state           TEXT     NOT NULL,
    amount          BIGINT   NOT NULL,
    adjusted        BIGINT,
    currency        INTEGER  NOT NULL,
    limited         SMALLINT NOT NULL DEFAULT 0,
    pan_masked      TEXT,
    card_digest     BYTEA,
    pan_sealed      BYTEA,
    expiry          INTEGER,
    entry_mode      INTEGER  NOT NULL,
    card_sequence   INTEGER,
    condition_code  INTEGER  NOT NULL,
    terminal_traits INTEGER  NOT NULL,
    request_digest  BYTEA    NOT NULL,
    line            TEXT     NOT NULL,
    network_trace   INTEGER  NOT NULL,
    transmission    BIGINT   NOT NULL,
    rrn             TEXT     NOT NULL,
    original        BIGINT,
    claimed_by      BIGINT,
    refunded        BIGINT   NOT NULL,
    answer_code     TEXT,
    auth_code       TEXT,
    settle_date     INTEGER,
    issuer          TEXT,
    balance         TEXT,
    answer_chip     BYTEA,
    answer_plan     TEXT,
    answered_at     BIGINT,
    reversal_reason TEXT,
    created         BIGINT   NOT NULL,
    room            BLOB     DEFAULT x'000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000'
);

INSERT INTO payment_in_order (id, merchant, terminal, batch, trace, kind, state, amount, adjusted, currency, limited, pan_masked, card_digest, pan_sealed, expiry, entry_mode, card_sequence, condition_code, terminal_traits, request_digest, line, network_trace, transmission, rrn, original, claimed_by, refunded, answer_code, auth_code, settle_date, issuer, balance, answer_chip, answer_plan, answered_at, reversal_reason, created, room)
    SELECT id, merchant, terminal, batch, trace, kind, state, amount, adjusted, currency, limited, pan_masked, card_digest, pan_sealed, expiry, entry_mode, card_sequence, condition_code, terminal_traits, request_digest, line, network_trace, transmission, rrn, original, claimed_by, refunded, answer_code, auth_code, settle_date, issuer, balance, answer_chip, answer_plan, answered_at, reversal_reason, created, NULL FROM payment ORDER BY id;
DROP TABLE payment;
ALTER TABLE payment_in_order RENAME TO payment;

-- The number ends every entry of an index by itself.
--
-- Tells a repeat; also serves the totals of a batch, and a merchant's list.
CREATE UNIQUE INDEX payment_key ON payment (merchant, terminal, batch, trace);
CREATE INDEX payment_rrn ON payment (rrn);
CREATE INDEX payment_original ON payment (merchant, original) WHERE original IS NOT NULL;
CREATE INDEX payment_authorisation ON payment (merchant, auth_code, card_digest) WHERE kind = 'preauth';
CREATE INDEX payment_network ON payment (network_trace, created);
CREATE INDEX payment_time ON payment (created);
CREATE INDEX payment_open ON payment (state, created)
    WHERE state IN ('pending', 'unresolved', 'reversing');

CREATE TABLE history_in_order (
    number   INTEGER NOT NULL PRIMARY KEY,
    merchant TEXT    NOT NULL,
    payment  BIGINT  NOT NULL,
    at       BIGINT  NOT NULL,
    kind     TEXT    NOT NULL,
    message  BYTEA   NOT NULL,
    note     TEXT    NOT NULL
);

INSERT INTO history_in_order (merchant, payment, at, kind, message, note)
    SELECT merchant, payment, at, kind, message, note FROM journal_entry ORDER BY payment, sequence;
DROP TABLE journal_entry;
ALTER TABLE history_in_order RENAME TO journal_entry;
CREATE INDEX journal_entry_payment ON journal_entry (payment);
