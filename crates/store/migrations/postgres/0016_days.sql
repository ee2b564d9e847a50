-- History is kept by the day of its payment (YYYYMMDD in Beijing): a look-up has to do with that day alone, and a whole
-- day can be taken out at once. The payment says the day, so it adds nothing to what the key tells apart; it fills a gap
-- that each row and each entry of the index had anyway.

-- Days that were taken out, so that nobody looks for what is missing with them.
CREATE TABLE history_gone (
    day      INTEGER  NOT NULL PRIMARY KEY,
    taken_at BIGINT   NOT NULL,
    dropped  SMALLINT NOT NULL
);

ALTER TABLE journal_entry RENAME TO journal_entry_whole;
ALTER TABLE journal_entry_whole DROP CONSTRAINT journal_entry_pkey;

CREATE TABLE journal_entry (
    merchant TEXT    NOT NULL,
    payment  BIGINT  NOT NULL,
    sequence INTEGER NOT NULL,
    day      INTEGER NOT NULL,
    at       BIGINT  NOT NULL,
    kind     TEXT    NOT NULL,
    message  BYTEA   NOT NULL,
    note     TEXT    NOT NULL,
    PRIMARY KEY (merchant, payment, sequence, day)
) PARTITION BY RANGE (day);

-- For a day that has no partition yet: no payment waits for one to be made.
CREATE TABLE journal_entry_default PARTITION OF journal_entry DEFAULT;

-- The days that there are, and those that come next.
DO $$
DECLARE
    day INTEGER;
BEGIN
    FOR day IN
        SELECT to_char(timestamp '1970-01-01 08:00' + created / 1000 * interval '1 second', 'YYYYMMDD')::integer
            FROM payment
        UNION
        SELECT to_char((now() AT TIME ZONE interval '8 hours')::date + ahead, 'YYYYMMDD')::integer
            FROM generate_series(-1, 7) AS ahead
        ORDER BY 1
    LOOP
        EXECUTE format('CREATE TABLE %I PARTITION OF journal_entry FOR VALUES FROM (%s) TO (%s)',
            'journal_entry_' || day, day, day + 1);
    END LOOP;
END $$;

INSERT INTO journal_entry (merchant, payment, sequence, day, at, kind, message, note)
    SELECT e.merchant, e.payment, e.sequence,
        to_char(timestamp '1970-01-01 08:00' + COALESCE(p.created, e.at) / 1000 * interval '1 second',
            'YYYYMMDD')::integer,
        e.at, e.kind, e.message, e.note
    FROM journal_entry_whole e LEFT JOIN payment p ON p.merchant = e.merchant AND p.id = e.payment;
DROP TABLE journal_entry_whole;
