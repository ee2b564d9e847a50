-- What terminals download, who has which version of it, and what the host demands of a terminal.
-- The number is the stamp's on a list's scope: it grows with every change of master data.

CREATE TABLE list_item (
    list  TEXT NOT NULL,
    scope TEXT NOT NULL,
    name  TEXT NOT NULL,
    value TEXT NOT NULL,
    PRIMARY KEY (list, scope, name)
);

CREATE TABLE list_stamp (
    list    TEXT   NOT NULL,
    scope   TEXT   NOT NULL,
    version BIGINT NOT NULL,
    PRIMARY KEY (list, scope)
);

-- begun: the version that the terminal is fetching; held: the one whose end message came.
CREATE TABLE terminal_download (
    merchant TEXT   NOT NULL,
    terminal TEXT   NOT NULL,
    list     TEXT   NOT NULL,
    begun    BIGINT NOT NULL,
    held     BIGINT NOT NULL,
    held_at  BIGINT,
    PRIMARY KEY (merchant, terminal, list)
);

CREATE TABLE terminal_demand (
    merchant TEXT   NOT NULL,
    terminal TEXT   NOT NULL,
    demand   TEXT   NOT NULL,
    asked_at BIGINT NOT NULL,
    done_at  BIGINT,
    PRIMARY KEY (merchant, terminal, demand)
);

CREATE INDEX terminal_demand_open ON terminal_demand (merchant, terminal) WHERE done_at IS NULL;

-- The newest status that a terminal uploaded, as it came: public items of two digits and a value each.
CREATE TABLE terminal_status (
    merchant TEXT   NOT NULL,
    terminal TEXT   NOT NULL,
    at       BIGINT NOT NULL,
    items    BYTEA  NOT NULL,
    PRIMARY KEY (merchant, terminal)
);
