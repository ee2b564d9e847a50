-- A merchant may speak a profile of its own; without one it speaks that of the listener it comes through. What a
-- terminal had in its place was never read.
ALTER TABLE merchant ADD COLUMN profile TEXT;
ALTER TABLE terminal DROP COLUMN profile;
