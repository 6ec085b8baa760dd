/**
 * Devices of a node in the settings of a guest, and what Proxmox VE asks of whoever is not root: to set and to take away
 * (`check_usb_perm`, `check_hostpci_perm`, `check_ct_modify_config_perm`), and of a VM that is restored
 * (`check_mapping_access`, which looks at fewer of them; of a container at none).
 */
const DEVICE = /^((hostpci|usb|serial|parallel|dev)\d+)$/;

export const isDevice = (name: string): boolean => DEVICE.test(name);

/** `right`: that whoever sets it needs beside that of the guest. */
type Need = { kind: 'root'; words: string } | { kind: 'right'; path: string } | undefined;

export function needOf(name: string, value: string): Need {
  const what = name.replace(/\d+$/, '');
  const mapping = /(?:^|,)mapping=([^,]+)/.exec(value)?.[1];
  const real = `only root can set '${name}' config for ${what === 'hostpci' ? 'non-mapped' : 'real'} devices`;
  switch (what) {
    case 'usb':
      if (/^(host=)?spice(,|$)/i.test(value)) return undefined;
      return mapping === undefined ? { kind: 'root', words: real } : { kind: 'right', path: `/mapping/usb/${mapping}` };
    case 'hostpci':
      return mapping === undefined ? { kind: 'root', words: real } : { kind: 'right', path: `/mapping/pci/${mapping}` };
    case 'serial':
      return value === 'socket' ? undefined : { kind: 'root', words: real };
    case 'parallel':
      return { kind: 'root', words: `only root can set '${name}' config` };
    case 'dev':
      return { kind: 'root', words: 'configuring device passthrough is only allowed for root@pam' };
    default:
      return undefined;
  }
}

/** What a restore refuses to bring back for somebody who is not root and holds `Mapping.Use` on these paths. */
export function refuseDevices(options: Record<string, string>, mappings: readonly string[]): void {
  for (const [name, value] of Object.entries(options)) {
    if (!/^(usb|hostpci)\d+$/.test(name)) continue;
    const need = needOf(name, value);
    if (need?.kind === 'root') throw new Error(need.words);
    if (need && !mappings.includes(need.path))
      throw new Error(`403 Permission check failed (${need.path}, Mapping.Use)`);
  }
}

/** Why a guest cannot be started at a site that has none of the devices that its settings name. */
export function lackingDevice(options: Record<string, string | null>): string | undefined {
  for (const [name, value] of Object.entries(options)) {
    if (value === null || !isDevice(name) || (name.startsWith('serial') && value === 'socket')) continue;
    const need = needOf(name, value);
    if (need) return `${name}: no such device at this site`;
  }
  return undefined;
}
