-- The network's settlement date of a reversal: after its cut-over not that of the payment which it undoes.
ALTER TABLE payment ADD COLUMN reversed_on INTEGER;
