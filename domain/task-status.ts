/** Whether a task of Proxmox VE or of its backup server did what it was to do, by the word that it ended with. */
export const hasEndedWell = (status: string): boolean => /^(OK|WARNINGS: \d+)$/.test(status);
