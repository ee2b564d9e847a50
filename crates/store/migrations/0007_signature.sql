-- E-signatures: the image in the parts that the terminal sent it in, by their code (809 down to 800, the last).
CREATE TABLE signature_part (
    merchant TEXT    NOT NULL,
    payment  BIGINT  NOT NULL,
    code     INTEGER NOT NULL,
    at       BIGINT  NOT NULL,
    image    BYTEA   NOT NULL,
    PRIMARY KEY (merchant, payment, code)
);
