-- The figures of an instalment sale: part of its answer, which a repeat must get again.
ALTER TABLE payment ADD COLUMN answer_plan TEXT;
