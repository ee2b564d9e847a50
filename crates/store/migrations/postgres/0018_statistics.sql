-- The server looks through a sample of each table that has grown, for every column by default: a third of a second of a
-- processor for the payments, while payments wait for it. What no statement looks for needs no statistics, and
-- for what is found by a key a small sample will do. Rows by the day say the same (see days.rs).
DO $$
DECLARE
    has RECORD;
BEGIN
    FOR has IN
        SELECT attrelid::regclass AS name, attname, attname IN ('merchant', 'id', 'payment', 'terminal', 'batch', 'trace',
            'state', 'created', 'rrn', 'network_trace', 'original', 'card_digest', 'sequence', 'day')
            OR (attname = 'kind' AND relname = 'payment') AS sought
        FROM pg_attribute JOIN pg_class ON pg_class.oid = attrelid
        WHERE attnum > 0 AND NOT attisdropped AND relkind IN ('r', 'p') AND relnamespace = current_schema()::regnamespace
            AND (relname = 'payment' OR relname LIKE 'journal\_entry%')
    LOOP
        EXECUTE format('ALTER TABLE %s ALTER COLUMN %I SET STATISTICS %s', has.name, has.attname,
            CASE WHEN has.sought THEN 20 ELSE 0 END);
    END LOOP;
END $$;
