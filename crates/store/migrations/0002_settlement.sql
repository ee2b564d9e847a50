-- Batch settlement: the totals of both sides, the uploaded details, and what differed.
-- Sides of a batch: d domestic, f foreign; debit, credit; t the terminal's figures, h the host's.

CREATE TABLE settlement (
    merchant         TEXT     NOT NULL,
    terminal         TEXT     NOT NULL,
    batch            INTEGER  NOT NULL,
    at               BIGINT   NOT NULL,
    times            INTEGER  NOT NULL,
    td_debit_amount  BIGINT   NOT NULL,
    td_debit_count   INTEGER  NOT NULL,
    td_credit_amount BIGINT   NOT NULL,
    td_credit_count  INTEGER  NOT NULL,
    tf_debit_amount  BIGINT   NOT NULL,
    tf_debit_count   INTEGER  NOT NULL,
    tf_credit_amount BIGINT   NOT NULL,
    tf_credit_count  INTEGER  NOT NULL,
    hd_debit_amount  BIGINT   NOT NULL,
    hd_debit_count   INTEGER  NOT NULL,
    hd_credit_amount BIGINT   NOT NULL,
    hd_credit_count  INTEGER  NOT NULL,
    hf_debit_amount  BIGINT   NOT NULL,
    hf_debit_count   INTEGER  NOT NULL,
    hf_credit_amount BIGINT   NOT NULL,
    hf_credit_count  INTEGER  NOT NULL,
    domestic_result  SMALLINT NOT NULL,
    foreign_result   SMALLINT NOT NULL,
    ended_at         BIGINT,
    uploaded         INTEGER,
    balanced         SMALLINT,
    PRIMARY KEY (merchant, terminal, batch)
);

CREATE INDEX settlement_time ON settlement (at, merchant, terminal, batch);

CREATE TABLE settlement_entry (
    merchant TEXT    NOT NULL,
    terminal TEXT    NOT NULL,
    batch    INTEGER NOT NULL,
    sequence INTEGER NOT NULL,
    at       BIGINT  NOT NULL,
    kind     TEXT    NOT NULL,
    message  BYTEA   NOT NULL,
    note     TEXT    NOT NULL,
    PRIMARY KEY (merchant, terminal, batch, sequence)
);

CREATE TABLE batch_line (
    merchant    TEXT    NOT NULL,
    terminal    TEXT    NOT NULL,
    batch       INTEGER NOT NULL,
    trace       INTEGER NOT NULL,
    at          BIGINT  NOT NULL,
    kind        TEXT    NOT NULL,
    card_digest BYTEA,
    amount      BIGINT  NOT NULL,
    PRIMARY KEY (merchant, terminal, batch, trace)
);

CREATE TABLE batch_difference (
    merchant        TEXT    NOT NULL,
    terminal        TEXT    NOT NULL,
    batch           INTEGER NOT NULL,
    trace           INTEGER NOT NULL,
    at              BIGINT  NOT NULL,
    kind            TEXT    NOT NULL,
    payment         BIGINT,
    terminal_amount BIGINT,
    host_amount     BIGINT,
    PRIMARY KEY (merchant, terminal, batch, trace)
);

CREATE INDEX batch_difference_time ON batch_difference (at, merchant, terminal, batch, trace);
