import fc from 'fast-check';
import { beforeEach, describe, expect, it } from 'vitest';
import { checkRepo } from '#domain/repo-check.js';
import { collectRepoFiles, type RepoFile } from '#domain/repo-files.js';
import { problemText } from '#domain/yaml-file.js';
import { renderRepo } from '#client/repo/template.js';
import { repoFiles } from '../../support/repo-files.js';

const STORE = 'clusters/store-002/store.yaml';
let texts: Map<string, string>;
beforeEach(() => {
  texts = renderRepo({ stores: 8 });
});

const replace = (file: string, from: string | RegExp, to: string): void => {
  const before = texts.get(file) ?? '';
  const after = before.replace(from, to);
  if (after === before) throw new Error(`${String(from)} is not in ${file}`);
  texts.set(file, after);
};
const problems = (): string[] => checkRepo(repoFiles(texts)).problems.map(problemText);
const lineIn = (file: string, text: string): number =>
  (texts.get(file) ?? '').split('\n').findIndex((line) => line.includes(text)) + 1;

describe('the check of a GitOps repo', () => {
  it('finds nothing in a good one, and gives fleet and stores', () => {
    const checked = checkRepo(repoFiles(texts));
    expect(checked.problems).toEqual([]);
    expect(checked.fleet?.fleet).toBe('edge');
    expect(checked.stores.map(({ id }) => id)).toContain('store-008');
  });

  it('finds all problems of all files at once, each with its line', () => {
    replace('fleet.yaml', 'soak: 18h', 'soak: tomorrow');
    replace(STORE, 'address: 10.20.1.12', 'address: 10.20.1');
    replace(STORE, 'vmid: 102', 'vmid: 99');
    replace('clusters/store-005/store.yaml', 'kind: lxc', 'kind: docker');
    expect(new Set(problems())).toEqual(
      new Set([
        `clusters/store-002/store.yaml:${lineIn(STORE, '{ name: n2')}: nodes[1].address: "10.20.1" is not an address. Expected IPv4, IPv6 or a host name.`,
        `clusters/store-002/store.yaml:${lineIn(STORE, 'vmid: 99')}: guests[1].vmid: "99" must be at least 100.`,
        `clusters/store-005/store.yaml:${lineIn('clusters/store-005/store.yaml', 'docker')}: guests[2].kind: "docker" must be one of: qemu, lxc.`,
        `fleet.yaml:${lineIn('fleet.yaml', 'tomorrow')}: stages[0].soak: "tomorrow" is not a duration. Write a number and ms, s, m, h or d, e.g. 15m.`,
      ]),
    );
  });

  it('finds what does not fit together in a file of which another part is wrong', () => {
    replace('fleet.yaml', 'Europe/Berlin', 'Europe/Berlinn');
    replace('fleet.yaml', 'defaultTier: normal', 'defaultTier: gold');
    replace(STORE, 'address: 10.20.1.12', 'address: 10.20.1');
    replace(STORE, 'vmid: 102', 'vmid: 101');
    expect(problems()).toEqual([
      expect.stringMatching(/^fleet\.yaml:\d+: timeZone: "Europe\/Berlinn" is not a time zone/),
      expect.stringMatching(
        /^clusters\/store-002\/store\.yaml:\d+: nodes\[1\]\.address: "10\.20\.1" is not an address/,
      ),
      expect.stringMatching(/^clusters\/store-002\/store\.yaml:\d+: guests\[1\]\.vmid: is used twice: 101\.$/),
      expect.stringMatching(/^fleet\.yaml:\d+: backup\.defaultTier: is gold, which is not among the tiers\.$/),
    ]);
  });

  const cases: Record<string, [change: () => void, problem: RegExp]> = {
    'a missing fleet.yaml': [() => texts.delete('fleet.yaml'), /^fleet\.yaml:1: is missing\.$/],
    'a fleet without stores': [
      () => [...texts.keys()].filter((path) => path.startsWith('clusters/')).forEach((path) => texts.delete(path)),
      /^clusters:1: has no stores\./,
    ],
    'a store folder without store.yaml': [
      () => texts.delete(STORE),
      /^clusters\/store-002\/store\.yaml:1: is missing\.$/,
    ],
    'a folder that bears another name than the store': [
      () => replace(STORE, 'id: store-002', 'id: store-099'),
      /store\.yaml:1: id: is store-099, but the folder is store-002/,
    ],
    'a missing field': [() => replace('fleet.yaml', /timeZone: .*/, ''), /fleet\.yaml:\d+: timeZone: is missing\.$/],
    'an unknown key': [
      () => replace(STORE, 'guests:', 'gests: []\nguests:'),
      /store-002\/store\.yaml:8: gests: is not a known key here\.$/,
    ],
    'a time zone that does not exist': [
      () => replace('fleet.yaml', 'Europe/Berlin', 'Europe/Berlinn'),
      /fleet\.yaml:3: timeZone: "Europe\/Berlinn" is not a time zone\./,
    ],
    'a policy that does not exist': [
      () => replace('fleet.yaml', 'onCanaryFailure: hold', 'onCanaryFailure: shrug'),
      /fleet\.yaml:\d+: train\.onCanaryFailure: "shrug" must be one of: hold, rollback\.$/,
    ],
    'broken YAML': [() => replace(STORE, 'nodes:', 'nodes: ['), /store-002\/store\.yaml:\d+: is not valid YAML: /],
    'a key that stands twice': [
      () => replace(STORE, 'guests:', 'id: store-003\nguests:'),
      /store-002\/store\.yaml:8: has the key id twice/,
    ],
    'a tag that is not plain data': [
      () => replace(STORE, 'id: store-002', 'id: !!js/function store-002'),
      /store-002\/store\.yaml:1: is not valid YAML: .*tag/i,
    ],
    'two nodes of one name': [() => replace(STORE, 'name: n2', 'name: n1'), /nodes\[1\]\.name: is used twice: n1\./],
    'two nodes at one address': [
      () => replace(STORE, '10.20.1.12', '10.20.1.11'),
      /nodes\[1\]\.address: is used twice: 10\.20\.1\.11 port 8006\./,
    ],
    'two guests of one number': [
      () => replace(STORE, 'vmid: 103', 'vmid: 101'),
      /guests\[2\]\.vmid: is used twice: 101/,
    ],
    'two guests of one name': [
      () => replace(STORE, 'name: cache', 'name: pos'),
      /guests\[2\]\.name: is used twice: pos/,
    ],
    'two files for one target': [
      () =>
        replace(
          STORE,
          /( +)- file: varnish-vcl\.vcl/,
          '$1- {file: varnish-vcl.vcl, target: /etc/varnish/default.vcl, reload: [x]}\n$1- file: varnish-vcl.vcl',
        ),
      /guests\[2\]\.config\[1\]\.target: is used twice/,
    ],
    'a config file that is missing': [
      () => texts.delete('clusters/store-002/varnish-vcl.vcl'),
      /guests\[2\]\.config\[0\]\.file: names clusters\/store-002\/varnish-vcl\.vcl, which is missing\./,
    ],
    'fewer than three nodes': [
      () => replace(STORE, /\n.*name: n3.*/, ''),
      /store-002\/store\.yaml:2: nodes: needs three nodes\.$/,
    ],
    'stores in no stage': [
      () => replace('fleet.yaml', 'stores: rest', 'stores: 1'),
      /fleet\.yaml:\d+: stages: 2 stores are in no stage/,
    ],
    'a stage whose tag no store has': [
      () => replace('fleet.yaml', '{ tag: pilot }', '{ tag: polit }'),
      /fleet\.yaml:\d+: stages: canary has no stores\. .*polit/,
    ],
    'two stages that take the rest': [
      () => replace('fleet.yaml', 'stores: 3', 'stores: rest'),
      /stages: more than one takes the rest/,
    ],
    'a threshold that never stops': [
      () => replace('fleet.yaml', 'errorThreshold: { count: 0 }', 'errorThreshold: { minSample: 3 }'),
      /stages\[0\]\.limits\.errorThreshold: of canary has neither count nor percent/,
    ],
    'a freeze that ends before it begins': [
      () => replace('fleet.yaml', 'freezes: []', 'freezes:\n  - {from: 2026-12-20, to: 2026-12-19, reason: x}'),
      /fleet\.yaml:\d+: freezes\[0\]\.to: is 2026-12-19, before it begins/,
    ],
    'a date that does not exist': [
      () => replace('fleet.yaml', 'freezes: []', 'freezes:\n  - {from: 2026-02-30, to: 2026-03-01, reason: x}'),
      /freezes\[0\]\.from: "2026-02-30" is not a date/,
    ],
    'a freeze of a store that does not exist': [
      () =>
        replace(
          'fleet.yaml',
          'freezes: []',
          'freezes: [{from: 2026-12-01, to: 2026-12-02, reason: x, stores: [store-999]}]',
        ),
      /freezes\[0\]\.stores\[0\]: names store-999, which is not a store/,
    ],
    'a package that is pinned twice': [
      () => replace('fleet.yaml', 'name: systemd', 'name: openssl'),
      /release\.packages\[14\]\.name: is used twice: openssl/,
    ],
    'a kernel that is not pinned': [
      () => replace('fleet.yaml', 'kernel: 6.14.11-4-pve', 'kernel: 6.14.11-9-pve'),
      /release\.kernel: is not among the packages\. Pin proxmox-kernel-6\.14\.11-9-pve-signed/,
    ],
    'a Proxmox range that cannot be read': [
      () => replace('fleet.yaml', "'>=8.2 <10'", "'8 to 10'"),
      /release\.compat\.pve: is not a range/,
    ],
    'a list of revoked releases that cannot be read': [
      () => replace('policies/revoked.yaml', 'revoked: []', 'revoked: [{ version: v48, reason: x, at: 2026-11-25 }]'),
      /^policies\/revoked\.yaml:5: revoked\[0\]\.version: "v48" is not a release version/,
    ],
    'a stage that bears the name of rollbacks': [
      () => replace('fleet.yaml', 'name: canary', 'name: rollback'),
      /^fleet\.yaml:\d+: stages\[0\]\.name: may not be rollback/,
    ],
    'a stage that bears the name of backups': [
      () => replace('fleet.yaml', 'name: canary', 'name: backup'),
      /^fleet\.yaml:\d+: stages\[0\]\.name: may not be backup: backups are recorded under that name\.$/,
    ],
    'an advisory file outside policies': [
      () => replace('fleet.yaml', 'advisories: policies/advisories.yaml', 'advisories: policies/../../etc/passwd'),
      /scan\.advisories: must be a file in policies\//,
    ],
    'an advisory file that is missing': [
      () => texts.delete('policies/advisories.yaml'),
      /scan\.advisories: names policies\/advisories\.yaml, which is missing/,
    ],
    'a hold without a reason': [
      () => replace(STORE, 'guests:', 'hold: {until: 2026-12-01}\nguests:'),
      /hold\.reason: is missing\./,
    ],
  };
  it.each(Object.entries(cases))('names %s', (_, [change, problem]) => {
    change();
    const found = problems();
    expect(found).toContainEqual(expect.stringMatching(problem));
    expect(found).toHaveLength(1);
  });
});

describe('windows of stores', () => {
  const withWindow = (window: string, zone?: string): string[] => {
    for (const id of ['store-001', 'store-002', 'store-003']) {
      const file = `clusters/${id}/store.yaml`;
      replace(file, 'nodes:', `${zone ? `timeZone: ${zone}\n` : ''}window: ${window}\nnodes:`);
    }
    return problems();
  };

  it('accepts one inside the window of the stage', () => {
    expect(withWindow("{start: '11:00', end: '13:00'}")).toEqual([]);
  });

  it('refuses one at night, in each store that has it', () => {
    const found = withWindow("{start: '22:00', end: '04:00'}");
    expect(found).toHaveLength(3);
    expect(found[0]).toMatch(
      /^clusters\/store-001\/store\.yaml:2: window: \(22:00–04:00 Europe\/Berlin\) does not meet that of stage \S+ \(tue wed thu fri 10:00–16:00 Europe\/Berlin\)/,
    );
  });

  it('reads each window in its own zone', () => {
    expect(withWindow("{start: '22:00', end: '23:00'}", 'Pacific/Auckland')).toEqual([]);
    texts = renderRepo({ stores: 8 });
    expect(withWindow("{start: '10:00', end: '11:00'}", 'Pacific/Auckland')).toHaveLength(3);
  });

  it('refuses one that meets the stage in one half of the year only', () => {
    // 04:30–05:30 in New York is 10:30–11:30 in Berlin; Phoenix keeps its clocks, so in winter it is one hour later there.
    expect(withWindow("{start: '08:00', end: '08:30'}", 'America/Phoenix')).toHaveLength(3);
    texts = renderRepo({ stores: 8 });
    expect(withWindow("{start: '07:00', end: '07:30'}", 'America/Phoenix')).toHaveLength(3);
    texts = renderRepo({ stores: 8 });
    expect(withWindow("{start: '06:00', end: '06:30'}", 'America/Phoenix')).toEqual([]);
  });

  it('refuses a weekend', () => {
    expect(withWindow("{days: [sat, sun], start: '10:00', end: '16:00'}")).toHaveLength(3);
  });
});

describe('backups', () => {
  const FLEET_BLOCK = `
backup:
  window: { start: '22:00', end: '05:00' }
  uplinks: { town: { slots: 4 } }
  tiers:
    normal: { rpo: { local: 26h }, restoreWeeks: 8 }
  defaultTier: normal
  keep: { daily: 7 }
`;
  const OFFSITE = `  offsite:
    keep: { weekly: 8 }
`;
  const STORE_BLOCK = `backup:
  uplink: town
`;
  const append = (file: string, text: string): void => void texts.set(file, `${texts.get(file) ?? ''}${text}`);
  /** Without what the template says of backups. */
  const strip = (file: string): void =>
    void texts.set(
      file,
      (texts.get(file) ?? '')
        .replace(/^backup:\n(?: .*\n)+/m, '')
        .replace(/^backup: \{\}\n/m, '')
        .replace(/^ {4}tier: .*\n/gm, '')
        .replace(/^ {4}probes:\n {6}- .*\n/gm, ''),
    );
  beforeEach(() => {
    for (const file of texts.keys()) if (/(fleet|store)\.yaml$/.test(file)) strip(file);
    append('fleet.yaml', FLEET_BLOCK);
    for (const number of [1, 2]) append(`clusters/store-00${number}/store.yaml`, STORE_BLOCK);
  });

  it('of a fleet in which some stores have them are in order', () => {
    expect(problems()).toEqual([]);
  });

  const LONG = `store-002-${'x'.repeat(23)}`;
  const withOffsite = (): void => {
    append('fleet.yaml', OFFSITE);
    replace('fleet.yaml', 'local: 26h', 'local: 26h, offsite: 50h');
  };
  const rename = (id: string): void => {
    for (const [file, text] of [...texts]) {
      if (!file.startsWith('clusters/store-002/')) continue;
      texts.delete(file);
      texts.set(file.replace('store-002', id), text.replace('id: store-002', `id: ${id}`));
    }
  };

  it.each<[string, () => void]>([
    ['with an id that just fits into the second place', () => (withOffsite(), rename(LONG.slice(0, 32)))],
    ['with a longer id where there is no second place', () => rename(LONG)],
    [
      'with a longer id that has no backups to send',
      () => {
        withOffsite();
        replace(STORE, STORE_BLOCK, '');
        rename(LONG);
      },
    ],
  ])('are in order of a store %s', (_, change) => {
    change();
    expect(problems()).toEqual([]);
  });

  it('are in order when space is collected on a day on which a night begins', () => {
    replace('fleet.yaml', "end: '05:00' }", "end: '05:00', days: [mon, wed] }\n  collectOn: wed");
    expect(problems()).toEqual([]);
  });

  const cases: Record<string, [change: () => void, problem: RegExp]> = {
    'a store that backs up in a fleet that does not': [
      () => {
        replace('fleet.yaml', FLEET_BLOCK, '');
        replace('clusters/store-001/store.yaml', STORE_BLOCK, '');
      },
      /store-002\/store\.yaml:\d+: backup: is set, but fleet\.yaml has no backup\.$/,
    ],
    'a default tier that there is not': [
      () => replace('fleet.yaml', 'defaultTier: normal', 'defaultTier: constructor'),
      /^fleet\.yaml:\d+: backup\.defaultTier: is constructor, which is not among the tiers\.$/,
    ],
    'a guest of a tier that there is not': [
      () => replace(STORE, 'role: pos', 'role: pos\n    tier: critical'),
      /guests\[0\]\.tier: is critical, which is not among the tiers in fleet\.yaml\.$/,
    ],
    'a disk that a VM cannot have': [
      () => replace(STORE, 'role: pos', 'role: pos\n    withoutDisks: [scsi1, mp0]'),
      /guests\[0\]\.withoutDisks\[1\]: mp0 is not a disk of a VM, such as scsi1\.$/,
    ],
    'a disk that is named twice': [
      () => replace(STORE, 'role: pos', 'role: pos\n    withoutDisks: [scsi1, scsi1]'),
      /guests\[0\]\.withoutDisks\[1\]: is used twice: scsi1\.$/,
    ],
    'the first mount point of a container': [
      () => replace(STORE, 'role: pos', 'role: pos\n    withoutDisks: [rootfs]'),
      /guests\[0\].withoutDisks\[0\]: "rootfs" is not the name of a disk or mount point, such as scsi1 or mp0/,
    ],
    'two probes of one name': [
      () => replace(STORE, 'role: pos', 'role: pos\n    probes: [{name: a, command: [x]}, {name: a, command: [y]}]'),
      /guests\[0\]\.probes\[1\]\.name: is used twice: a\.$/,
    ],
    'an uplink that there is not': [
      () => replace(STORE, 'uplink: town', 'uplink: village'),
      /backup\.uplink: is village, which is not among the uplinks in fleet\.yaml\.$/,
    ],
    'a window of a store that the fleet does not open': [
      () => replace(STORE, 'uplink: town', "uplink: town\n  window: { start: '06:00', end: '09:00' }"),
      /store-002\/store\.yaml:\d+: backup\.window: \(06:00–09:00 Europe\/Berlin\) does not meet that of the fleet \(22:00–05:00 Europe\/Berlin\)/,
    ],
    'a day of collecting on which no night begins': [
      () => replace('fleet.yaml', "end: '05:00' }", "end: '05:00', days: [mon, tue] }\n  collectOn: wed"),
      /^fleet\.yaml:\d+: backup\.collectOn: is wed, on which no night begins: the window has mon tue\.$/,
    ],
    'a day of collecting that nobody named, and on which no night begins': [
      () => replace('fleet.yaml', "end: '05:00' }", "end: '05:00', days: [mon] }"),
      /^fleet\.yaml:\d+: backup\.collectOn: is sun, on which no night begins: the window has mon\.$/,
    ],
    'a second place without an objective': [
      () => append('fleet.yaml', OFFSITE),
      /^fleet\.yaml:\d+: backup\.tiers\.normal\.rpo: needs offsite: there is a second place\.$/,
    ],
    'an objective without a second place': [
      () => replace('fleet.yaml', 'local: 26h', 'local: 26h, offsite: 50h'),
      /backup\.tiers\.normal\.rpo\.offsite: is set, but there is no second place\.$/,
    ],
    'a store whose id is too long for a namespace of the second place': [
      () => {
        withOffsite();
        rename(LONG);
      },
      new RegExp(
        `^clusters/${LONG}/store\\.yaml:\\d+: id: has 33 characters: .*backup\\.offsite.* at most 32\\. Give the store a shorter id\\.$`,
      ),
    ],
    'a gate that asks for backups nobody makes': [
      () => {
        replace('fleet.yaml', FLEET_BLOCK, '\nrecoverability: {}\n');
        for (const number of [1, 2]) replace(`clusters/store-00${number}/store.yaml`, STORE_BLOCK, '');
      },
      /^fleet\.yaml:\d+: recoverability: asks for backups, but backup is not set\.$/,
    ],
  };
  it.each(Object.entries(cases))('names %s', (_, [change, problem]) => {
    change();
    expect(problems()).toEqual([expect.stringMatching(problem)]);
  });
});

describe('hostile files', () => {
  it.each([
    'x; reboot',
    '$(reboot)',
    '`reboot`',
    '../store-001',
    '-rf',
    'a b',
    'Store-1',
    'a\nb',
    'ünïcode',
    'x'.repeat(64),
  ])('refuses a store folder named %j', (name) => {
    texts.set(`clusters/${name}/store.yaml`, 'id: x\n');
    const found = problems();
    expect(found).toHaveLength(1);
    expect(found[0]).toMatch(/is not a store id|is missing/);
    expect(found[0]).not.toMatch(/\n/);
  });

  const names: [field: string, from: string, to: string][] = [
    ['nodes[0].name', 'name: n1', "name: 'n1; reboot'"],
    ['nodes[0].name', 'name: n1', "name: '-n1'"],
    ['nodes[0].address', '10.20.1.11', "'10.0.0.1 -oProxyCommand=x'"],
    ['nodes[0].address', '10.20.1.11', "'-oProxyCommand=x'"],
    ['guests[0].name', 'name: pos', "name: '$(reboot)'"],
    ['guests[1].config[0].file', 'inventory-api.yaml', '../store-001/store.yaml'],
    ['guests[1].config[0].file', 'inventory-api.yaml', '/etc/passwd'],
    ['guests[1].config[0].target', '/etc/inventory/api.yaml', '/etc/../root/x'],
    ['guests[1].config[0].target', '/etc/inventory/api.yaml', "'/etc/x; reboot'"],
    ['guests[0].health', 'http://10.20.1.101:8080/health', 'file:///etc/passwd'],
  ];
  it.each(names)('refuses for %s instead of %s: %s', (field, from, to) => {
    replace(STORE, from, to);
    expect(problems()).toEqual([expect.stringContaining(`${field}: `)]);
  });

  it('refuses an executable-looking package, version and source', () => {
    replace('fleet.yaml', 'name: openssl', "name: 'openssl -o x'");
    replace('fleet.yaml', '3.5.4-1~deb13u2', '$(reboot)');
    replace('fleet.yaml', 'deb https://mirror.example.net/debian/{snapshot} trixie main', 'deb file:///tmp x; reboot');
    expect(problems()).toHaveLength(3);
  });

  it('does not repeat what is long or would draw on a terminal', () => {
    replace(STORE, 'name: pos', `name: "\\e[2Jpos\\u202e${'x'.repeat(5_000)}"`);
    const [found = ''] = problems();
    expect(found).toContain('guests[0].name');
    expect(found.length).toBeLessThan(300);
    expect(found).not.toMatch(/[\u0000-\u001f\u202e]/);
  });

  it('does not let a file reach the prototype of anything', () => {
    replace(STORE, 'id: store-002', 'id: store-002\n__proto__: {polluted: true}\nconstructor: 1');
    expect(problems()).toEqual([
      expect.stringContaining('is not a known key here.'),
      expect.stringContaining('is not a known key here.'),
    ]);
    expect(({} as { polluted?: boolean }).polluted).toBeUndefined();
  });

  const bombs: Record<string, [string, RegExp]> = {
    'deep nesting': ['['.repeat(30_000), /is not valid YAML|nested/],
    'deep nesting that is well formed': [`${'['.repeat(30)}${']'.repeat(30)}`, /nested deeper than 20/],
    'keys within keys': [`${'? '.repeat(500)}a`, /not a plain word|nested/],
    'very many keys': [Array.from({ length: 6_000 }, (_, index) => `k${index}: 1`).join('\n'), /not a known key/],
    'aliases that multiply': [
      `a: &a [x,x,x,x,x,x,x,x,x]\n${[...'bcdefgh'].map((name, i) => `${name}: &${name} [${Array(9).fill(`*${'abcdefg'[i]}`).join(',')}]`).join('\n')}`,
      /uses more than 20 aliases/,
    ],
    'an alias that leads to itself': ['&a [*a]', /aliases|type object/],
    'nothing at all': ['', /type object/],
    'a single word': ['store', /type object/],
    'two documents': ['id: a\n---\nid: b\n', /is not valid YAML/],
  };
  it.each(Object.entries(bombs))('ends with a sentence at %s', (_, [text, problem]) => {
    texts.set(STORE, text);
    const found = problems();
    expect(found).toContainEqual(expect.stringMatching(problem));
    expect(found.length).toBeLessThanOrEqual(50);
  });

  it('does not open files of 10 MB, and says so', async () => {
    const opened: string[] = [];
    const huge = ['fleet.yaml', STORE, 'clusters/store-003/varnish-vcl.vcl'];
    const files = await collectRepoFiles({
      list: () =>
        Promise.resolve(
          [...texts].map(([path, text]) => ({ path, size: huge.includes(path) ? 10_000_000 : text.length })),
        ),
      readMany: (paths) => {
        opened.push(...paths);
        return Promise.resolve(new Map(paths.map((path) => [path, Buffer.from(texts.get(path) ?? '')])));
      },
    });
    expect(opened.filter((path) => huge.includes(path))).toEqual([]);
    const found = checkRepo(files).problems.map(problemText);
    expect(found).toEqual([
      'fleet.yaml:1: has 10000000 bytes; at most 256000 are read.',
      'clusters/store-002/store.yaml:1: has 10000000 bytes; at most 64000 are read.',
      expect.stringContaining('varnish-vcl.vcl, which has 10000000 bytes; at most 1000000 are read.'),
    ]);
  });

  it('opens only the files that it knows, whatever the others are called', async () => {
    const listed = [
      'fleet.yaml',
      'x\ny',
      '-x',
      'clusters/a/b/c',
      'clusters/a/.hidden',
      '.git/config',
      'policies/a/b',
      'clusters/A/x',
    ];
    const opened: string[] = [];
    const files = await collectRepoFiles({
      list: () => Promise.resolve(listed.map((path) => ({ path, size: 1 }))),
      readMany: (paths) => {
        opened.push(...paths);
        return Promise.resolve(new Map());
      },
    });
    expect(opened).toEqual(['fleet.yaml']);
    expect([...files.keys()]).toEqual(listed);
  });

  it('refuses bytes that are not text', () => {
    const files = new Map<string, RepoFile>(repoFiles(texts));
    files.set('clusters/store-004/varnish-vcl.vcl', { size: 4 });
    expect(checkRepo(files).problems.map(problemText)).toEqual([expect.stringMatching(/which is not UTF-8 text\./)]);
  });

  it('never throws and never passes what is not a store, whatever is in the file', () => {
    fc.assert(
      fc.property(fc.oneof(fc.string(), fc.json(), fc.string({ unit: 'binary' })), (text) => {
        texts.set(STORE, text);
        const { problems: found, stores } = checkRepo(repoFiles(texts));
        expect(found.length).toBeGreaterThan(0);
        expect(stores.map(({ id }) => id)).not.toContain('store-002');
      }),
      { numRuns: 60 },
    );
  }, 30_000);
});
