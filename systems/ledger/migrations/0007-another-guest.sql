-- A number that another guest has by now: what is older than `own_since` is of the one before.
ALTER TABLE guest_backups ADD COLUMN own_since timestamptz;
-- Of the guest that was restored, as `kind` of guest_backups; nobody knows it of earlier trials.
ALTER TABLE restore_tests ADD COLUMN kind text;
