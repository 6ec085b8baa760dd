/** Sizes in bytes. YAML is kept well below what a hostile file would need to cost more than seconds. */
export const MAX_FLEET_FILE = 256_000;
export const MAX_STORE_FILE = 64_000;
/** One file for a guest; also the largest file of the repo that is read at all. */
export const MAX_CONFIG_FILE = 1_000_000;
/** All files of one store together; they travel in one artifact. */
export const MAX_STORE_CONFIG = 4_000_000;
export const MAX_STORES = 10_000;
