-- When a terminal signed in by the keys before its newest ones. Without it what was refused because the terminal had to sign in
-- would be taken once it had, when a copy of the request came late.
ALTER TABLE terminal ADD COLUMN signed_in_before BIGINT;
