-- What the server cleans by itself it cleans in the middle of the payments: at 6,000 a second, once a minute, a processor
-- for three seconds, in which payments wait for half a second. Nothing needs it to be done so fast: ten times slower is
-- soon enough, since a payment's second writing finds its place on its own page (migration 12) and history is only added.
-- Rows by the day say the same (see days.rs).
DO $$
DECLARE
    has RECORD;
BEGIN
    FOR has IN
        SELECT oid::regclass AS name FROM pg_class
        WHERE relkind = 'r' AND relnamespace = current_schema()::regnamespace
            AND (relname = 'payment' OR relname LIKE 'journal\_entry%')
    LOOP
        EXECUTE format('ALTER TABLE %s SET (autovacuum_vacuum_cost_delay = 20)', has.name);
    END LOOP;
END $$;
