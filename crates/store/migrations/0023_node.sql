-- The nodes that share a store, each with its machine and its master keys by their fingerprints: the one that it makes new
-- keys under, and all that it opens keys of, with spaces between. A master key is put in force when all of them have it.
-- What a node said counts until a moment of the database's clock.
CREATE TABLE node (
    node    TEXT   NOT NULL PRIMARY KEY,
    machine TEXT   NOT NULL,
    wraps   TEXT   NOT NULL,
    opens   TEXT   NOT NULL,
    until   BIGINT NOT NULL
);
