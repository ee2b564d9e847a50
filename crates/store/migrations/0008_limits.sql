-- Limits by merchant, terminal, transaction and kind of card; an empty text fits everything. Amounts are fen.
CREATE TABLE payment_limit (
    merchant   TEXT   NOT NULL,
    terminal   TEXT   NOT NULL,
    kind       TEXT   NOT NULL,
    card       TEXT   NOT NULL,
    single     BIGINT,
    day_amount BIGINT,
    day_count  BIGINT,
    PRIMARY KEY (merchant, terminal, kind, card)
);

-- First digits of card numbers and the kind of card they mean.
CREATE TABLE card_bin (
    digits TEXT NOT NULL PRIMARY KEY,
    card   TEXT NOT NULL
);

-- What a day's payments came to, for each limit that has a day's figure, counted for each merchant.
CREATE TABLE limit_counter (
    merchant TEXT    NOT NULL,
    scope    TEXT    NOT NULL,
    day      INTEGER NOT NULL,
    amount   BIGINT  NOT NULL,
    payments BIGINT  NOT NULL,
    PRIMARY KEY (merchant, scope, day)
);

-- What a payment has taken of a counter; taken away when it is given back.
CREATE TABLE limit_hold (
    merchant TEXT    NOT NULL,
    payment  BIGINT  NOT NULL,
    scope    TEXT    NOT NULL,
    day      INTEGER NOT NULL,
    amount   BIGINT  NOT NULL,
    PRIMARY KEY (merchant, payment, scope)
);

-- Tells without a look which payments have taken something.
ALTER TABLE payment ADD COLUMN limited SMALLINT NOT NULL DEFAULT 0;
