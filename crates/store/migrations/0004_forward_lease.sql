-- Several nodes on one store: a line's queue is worked by one of them, until it gives the line back or the time is
-- over.
CREATE TABLE forward_lease (
    line         TEXT   NOT NULL PRIMARY KEY,
    node         TEXT   NOT NULL,
    leased_until BIGINT NOT NULL
);
