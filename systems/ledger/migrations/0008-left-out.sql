-- Disks that the backups of a guest leave out, and between when no backup of it is whole for that (from the first one on,
-- where nothing is said).
ALTER TABLE guest_backups ADD COLUMN left_out text[];
ALTER TABLE guest_backups ADD COLUMN left_out_since timestamptz;
ALTER TABLE guest_backups ADD COLUMN left_out_at timestamptz;
