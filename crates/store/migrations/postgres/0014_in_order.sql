-- The reference number begins with the day and rises with it, so it leads its index. One merchant's payments are found
-- through the terminal's key or through time, whichever is shorter: an index of each merchant's times cost every
-- payment a page of its own.
DROP INDEX payment_rrn;
CREATE INDEX payment_rrn ON payment (rrn, id);
DROP INDEX payment_merchant_time;
