-- Disks that the backups of a guest leave out, and until when no backup of it is whole for that.
ALTER TABLE guest_backups ADD COLUMN left_out text[];
ALTER TABLE guest_backups ADD COLUMN left_out_at timestamptz;
