-- The journal: payments, their history, what must still reach the network, and master data.
--
-- One text for every engine: the common subset of SQL. Times are unix milliseconds, money is fen, truth is
-- 0 or 1, binary columns are BYTEA (any engine stores the bytes as they are).
-- The merchant is the shard key: primary keys and unique indexes on the payment path begin with it.

CREATE TABLE meta (
    name  TEXT   NOT NULL PRIMARY KEY,
    value TEXT   NOT NULL
);

CREATE TABLE counter (
    name  TEXT   NOT NULL PRIMARY KEY,
    value BIGINT NOT NULL
);

-- Blocks taken from a counter. A number inside a block that no payment has is a gap left by a restart.
CREATE TABLE number_block (
    name        TEXT   NOT NULL,
    first       BIGINT NOT NULL,
    size        BIGINT NOT NULL,
    reserved_at BIGINT NOT NULL,
    PRIMARY KEY (name, first)
);

CREATE TABLE merchant (
    merchant     TEXT     NOT NULL PRIMARY KEY,
    name         TEXT     NOT NULL,
    mcc          INTEGER  NOT NULL,
    active       SMALLINT NOT NULL,
    limit_single BIGINT
);

CREATE TABLE terminal (
    merchant       TEXT     NOT NULL,
    terminal       TEXT     NOT NULL,
    active         SMALLINT NOT NULL,
    cipher         TEXT     NOT NULL,
    master_key     TEXT     NOT NULL,
    profile        TEXT     NOT NULL,
    pin_key        TEXT,
    mac_key        TEXT,
    track_key      TEXT,
    pin_key_before TEXT,
    mac_key_before TEXT,
    track_key_before TEXT,
    signed_in_at   BIGINT,
    batch          INTEGER  NOT NULL,
    PRIMARY KEY (merchant, terminal)
);

CREATE TABLE payment (
    merchant        TEXT     NOT NULL,
    id              BIGINT   NOT NULL,
    terminal        TEXT     NOT NULL,
    batch           INTEGER  NOT NULL,
    trace           INTEGER  NOT NULL,
    kind            TEXT     NOT NULL,
    state           TEXT     NOT NULL,
    amount          BIGINT   NOT NULL,
    currency        INTEGER  NOT NULL,
    card_class      SMALLINT NOT NULL DEFAULT 0,
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
    answered_at     BIGINT,
    reversal_reason TEXT,
    created         BIGINT   NOT NULL,
    PRIMARY KEY (merchant, id)
);

-- Tells a repeat; also serves the totals of a batch.
CREATE UNIQUE INDEX payment_key ON payment (merchant, terminal, batch, trace);
CREATE INDEX payment_rrn ON payment (merchant, rrn, id);
CREATE INDEX payment_original ON payment (merchant, original) WHERE original IS NOT NULL;
-- Late and unmatched answers of the network; not on the payment path.
CREATE INDEX payment_network ON payment (network_trace, created, id);
-- Newest first, for people: of one merchant, of all.
CREATE INDEX payment_merchant_time ON payment (merchant, created, id);
CREATE INDEX payment_time ON payment (created, id);
-- What is under way: recovery after a crash, and the health page.
CREATE INDEX payment_open ON payment (state, created, id)
    WHERE state IN ('pending', 'unresolved', 'reversing');

CREATE TABLE journal_entry (
    merchant TEXT    NOT NULL,
    payment  BIGINT  NOT NULL,
    sequence INTEGER NOT NULL,
    at       BIGINT  NOT NULL,
    kind     TEXT    NOT NULL,
    message  BYTEA   NOT NULL,
    note     TEXT    NOT NULL,
    PRIMARY KEY (merchant, payment, sequence)
);

-- A terminal's reversal of a payment that never came: the payment is refused should it still come.
CREATE TABLE reversal_marker (
    merchant TEXT    NOT NULL,
    terminal TEXT    NOT NULL,
    batch    INTEGER NOT NULL,
    trace    INTEGER NOT NULL,
    amount   BIGINT  NOT NULL,
    reason   TEXT    NOT NULL,
    at       BIGINT  NOT NULL,
    PRIMARY KEY (merchant, terminal, batch, trace)
);

CREATE TABLE marker_entry (
    merchant TEXT    NOT NULL,
    terminal TEXT    NOT NULL,
    batch    INTEGER NOT NULL,
    trace    INTEGER NOT NULL,
    sequence INTEGER NOT NULL,
    at       BIGINT  NOT NULL,
    kind     TEXT    NOT NULL,
    message  BYTEA   NOT NULL,
    note     TEXT    NOT NULL,
    PRIMARY KEY (merchant, terminal, batch, trace, sequence)
);

-- Store-and-forward. The sequence orders a line; finished items stay as a record.
CREATE TABLE forward (
    merchant TEXT    NOT NULL,
    line     TEXT    NOT NULL,
    sequence BIGINT  NOT NULL,
    payment  BIGINT  NOT NULL,
    action   TEXT    NOT NULL,
    status   TEXT    NOT NULL,
    attempts INTEGER NOT NULL,
    next_at  BIGINT  NOT NULL,
    note     TEXT    NOT NULL,
    created  BIGINT  NOT NULL,
    done_at  BIGINT,
    PRIMARY KEY (merchant, line, sequence)
);

-- A payment is reversed, or repeated, by one item only.
CREATE UNIQUE INDEX forward_payment ON forward (merchant, payment, action);
CREATE INDEX forward_sequence ON forward (line, sequence);
CREATE INDEX forward_open ON forward (line, status, sequence) WHERE done_at IS NULL;

CREATE TABLE unmatched_message (
    line     TEXT   NOT NULL,
    sequence BIGINT NOT NULL,
    at       BIGINT NOT NULL,
    message  BYTEA  NOT NULL,
    note     TEXT   NOT NULL,
    PRIMARY KEY (line, sequence)
);
