/**
 * What `edge-governor` may run as root on a node, as the real sudo would judge it: by path and by a regular expression
 * over all arguments. `docs/store-rights.md` holds the same list as a sudoers file; a command that is not here asks for
 * a password, which nobody has. Options that could run something else (any other `-o`, `--property`) are not here.
 */
const UNIT = 'edge-governor-upgrade-[0-9a-f]+(\\.service)?';
const NODE = '[a-z0-9][a-z0-9-]*';
const KERNEL = '[0-9]+\\.[0-9]+\\.[0-9]+-[0-9]+-pve';
const SOURCES = '/etc/apt/sources\\.list\\.d/edge-governor\\.list';
const AS_JSON = '( (-f|--format) json(-pretty)?)?';

const APT_OPTION =
  '(-s|-y|--download-only|--allow-downgrades|-o DPkg::Lock::Timeout=[0-9]+|-o Dpkg::Options::=--force-conf(def|old))';
const PINNED = '[a-z0-9][a-z0-9+.-]+=[A-Za-z0-9.+~:-]+';
const APT = `(${APT_OPTION} )*(update|check|clean|dist-upgrade|install( --allow-downgrades)?( ${PINNED})+)`;
const UNIT_OPTION = '(--remain-after-exit|--setenv=DEBIAN_FRONTEND=noninteractive|--setenv=NEEDRESTART_MODE=l)';
const CEPH_READS =
  'status|-s|health( detail)?|osd (dump|tree|df)|mon dump|mgr dump|quorum_status|versions|osd pool ls detail|pg stat|df';

type Allowed = Record<string, { path: string; args: readonly string[] }>;

const ALLOWED: Allowed = {
  'apt-get': { path: '/usr/bin/apt-get', args: [APT] },
  ceph: {
    path: '/usr/bin/ceph',
    args: [
      `(${CEPH_READS})${AS_JSON}`,
      `osd ok-to-stop( [0-9]+)+${AS_JSON}`,
      `mon ok-to-stop( ${NODE})+${AS_JSON}`,
      `osd (set|unset)-group noout ${NODE}`,
    ],
  },
  dpkg: { path: '/usr/bin/dpkg', args: ['--configure -a', '--audit'] },
  'ha-manager': {
    path: '/usr/sbin/ha-manager',
    args: ['status', `crm-command node-maintenance (enable|disable) ${NODE}`],
  },
  install: { path: '/usr/bin/install', args: [`-D -m 0644 /dev/stdin ${SOURCES}`] },
  journalctl: { path: '/usr/bin/journalctl', args: [`-u ${UNIT} -n [0-9]+ --no-pager -o cat`] },
  pct: { path: '/usr/sbin/pct', args: ['exec [0-9]+ -- .+'] },
  'proxmox-boot-tool': {
    path: '/usr/sbin/proxmox-boot-tool',
    args: ['kernel list', `kernel pin ${KERNEL}( --next-boot)?`, 'kernel unpin( --next-boot)?', 'refresh'],
  },
  qm: { path: '/usr/sbin/qm', args: ['guest exec [0-9]+( --pass-stdin 1)? -- .+'] },
  rm: { path: '/usr/bin/rm', args: [`-f ${SOURCES}`] },
  systemctl: { path: '/usr/bin/systemctl', args: ['reboot', `(reset-failed|stop) ${UNIT}`] },
  'systemd-run': {
    path: '/usr/bin/systemd-run',
    args: [`--unit=${UNIT}( ${UNIT_OPTION})* -- (/usr/bin/)?apt-get ${APT}`],
  },
};

/**
 * What its user may run at the staging site: programs in restored containers, taking away what a failed restore left, and
 * taking devices of the node from what was restored, which is root's alone; of the ids that are kept for it. A VM is asked through its agent, over the API.
 */
const TESTED = '9[0-9]{4}';
const DEVICE = '(hostpci|usb|serial|parallel)[0-9]+';
const AT_STAGING: Allowed = {
  pct: {
    path: '/usr/sbin/pct',
    args: [
      `exec ${TESTED} -- .+`,
      `unlock ${TESTED}`,
      `destroy ${TESTED}( --force 1)?( --purge 1)?`,
      `set ${TESTED} --delete dev[0-9]+(,dev[0-9]+)*`,
    ],
  },
  qm: {
    path: '/usr/sbin/qm',
    args: [
      `unlock ${TESTED}`,
      `destroy ${TESTED}( --purge 1)?( --destroy-unreferenced-disks 1)?`,
      `set ${TESTED} --delete ${DEVICE}(,${DEVICE})*`,
    ],
  },
};

const compile = (allowed: Allowed): Map<string, RegExp[]> =>
  new Map(
    Object.entries(allowed).map(([program, { args }]) => [program, args.map((each) => new RegExp(`^(${each})$`))]),
  );

const LISTS = {
  store: { allowed: ALLOWED, rules: compile(ALLOWED) },
  staging: { allowed: AT_STAGING, rules: compile(AT_STAGING) },
};
type SudoersList = keyof typeof LISTS;

/** True when the list has it. `program` is the bare name. */
export const maySudo = (program: string, args: string[], list: SudoersList = 'store'): boolean =>
  LISTS[list].rules.get(program)?.some((rule) => rule.test(args.join(' '))) ?? false;

/** The list as lines of a sudoers file (sudo 1.9.10 or newer). */
export const sudoersLines = (user: string, list: SudoersList = 'store'): string[] =>
  Object.values(LISTS[list].allowed).flatMap(({ path, args }) =>
    args.map((each) => `${user} ALL=(root) NOPASSWD: ${path} ^(${each})$`),
  );

/** Programs that answer nothing useful without root. */
export const ROOT_ONLY = new Set(['systemd-run', 'ha-manager', 'ceph', 'pct', 'qm', 'proxmox-boot-tool']);
