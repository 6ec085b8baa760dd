import { describe, expect, it } from 'vitest';
import {
  cardsFor,
  copyStorage,
  decideSite,
  decideStart,
  devicesIn,
  hasAgent,
  isSameTrial,
  judgeRestore,
  readMark,
  snapshotName,
  standInsFor,
  whoseIs,
  writeMark,
  type Load,
  type RestoredGuest,
  type SiteFacts,
  type SiteNode,
  type SiteTask,
  type TrialMark,
} from '#domain/restore-site.js';

const GIB = 1024 ** 3;
const PLACE = { storage: 'restore', bridge: 'vmbr-lab', pool: 'restore-test' };

const aNode = (name: string, change: Partial<SiteNode> = {}): SiteNode => ({
  name,
  bridge: { ports: [] },
  storage: { content: ['images', 'rootdir'], enabled: true, active: true, available: 100 * GIB },
  memoryFree: 32 * GIB,
  ...change,
});
const RIGHTS: Record<string, string[]> = {
  '/': ['Sys.Audit'],
  '/vms': ['VM.Audit'],
  '/pool/restore-test': [
    'Pool.Audit',
    'VM.Allocate',
    'VM.Audit',
    'VM.Config.HWType',
    'VM.Config.Network',
    'VM.Config.Options',
    'VM.GuestAgent.Audit',
    'VM.GuestAgent.Unrestricted',
    'VM.PowerMgmt',
  ],
  '/storage': ['Datastore.Allocate', 'Datastore.Audit'],
  '/storage/restore': ['Datastore.AllocateSpace', 'Datastore.Audit'],
  '/sdn/zones/localnetwork/vmbr-lab': ['SDN.Use'],
};
const theSite = (change: Partial<SiteFacts> = {}): SiteFacts => ({
  quorate: true,
  nodes: [aNode('s1'), aNode('s2'), aNode('s3')],
  hasPool: true,
  permissions: RIGHTS,
  unread: [],
  ...change,
});
const aLoad = (change: Partial<Load> = {}): Load => ({ kind: 'qemu', bytes: 10 * GIB, promised: {}, ...change });
const withRoom = (name: string, available: number | undefined) =>
  aNode(name, { storage: { content: ['images', 'rootdir'], enabled: true, active: true, available } });

describe('devices of a node', () => {
  const VM = {
    usb0: 'host=0922:8003',
    usb1: 'spice',
    usb2: 'mapping=scale',
    serial0: 'socket',
    serial1: '/dev/ttyS0',
    parallel0: '/dev/parport0',
    hostpci0: '0000:01:00',
    scsi0: 'vm:vm-101-disk-0',
    tablet: '1',
  };
  const CT = { dev0: '/dev/ttyUSB0', mp0: '/srv,mp=/srv', rootfs: 'vm:vm-102-disk-0' };

  it('are those that a guest was given, apart from what leads nowhere', () => {
    expect(devicesIn('qemu', VM)).toEqual(['hostpci0', 'parallel0', 'serial1', 'usb0', 'usb2']);
    expect(devicesIn('lxc', CT)).toEqual(['dev0']);
    expect(devicesIn('lxc', VM)).toEqual([]);
    expect(devicesIn('qemu', { args: '-device vfio', 'usb0 --args': 'x', virtiofs0: 'home' })).toEqual([]);
  });

  it('have others in their place while a VM is restored, where Proxmox would refuse them', () => {
    expect(standInsFor('qemu', VM)).toEqual({ usb0: 'spice', usb2: 'spice', hostpci0: 'mapping=edge-none' });
    expect(standInsFor('lxc', CT)).toEqual({});
  });
});

describe('the site', () => {
  it('takes a guest where there is most room', () => {
    const nodes = [withRoom('s1', 50 * GIB), withRoom('s2', 90 * GIB), withRoom('s3', 90 * GIB)];
    expect(decideSite(theSite({ nodes }), PLACE, aLoad())).toEqual({ kind: 'proceed', nodes: ['s2', 's3', 's1'] });
  });

  it('counts what restores on their way will take', () => {
    const nodes = [withRoom('s1', 50 * GIB), withRoom('s2', 90 * GIB)];
    const decide = (promised: number) =>
      decideSite(theSite({ nodes }), PLACE, aLoad({ promised: { s2: promised * GIB } }));
    expect(decide(45)).toEqual({ kind: 'proceed', nodes: ['s1', 's2'] });
    expect(decide(79)).toEqual({ kind: 'proceed', nodes: ['s1'] });
  });

  it('goes on without a node of which something is not known', () => {
    const nodes = [aNode('s1', { bridge: undefined }), aNode('s2', { memoryFree: undefined }), aNode('s3')];
    expect(decideSite(theSite({ nodes }), PLACE)).toEqual({ kind: 'proceed', nodes: ['s3'] });
  });

  it('of an older Proxmox VE knows another name for the right to ask agents', () => {
    const pool = RIGHTS['/pool/restore-test']!.filter((one) => !one.includes('GuestAgent'));
    const permissions = { ...RIGHTS, '/pool/restore-test': [...pool, 'VM.Monitor'] };
    expect(decideSite(theSite({ permissions }), PLACE).kind).toBe('proceed');
  });

  it('may name a device that is none, and no other', () => {
    const may = (path: string) =>
      decideSite(theSite({ permissions: { ...RIGHTS, [path]: ['Mapping.Use'] } }), PLACE).kind;
    expect(may('/mapping/pci/edge-none')).toBe('proceed');
    for (const path of ['/mapping/pci/gpu', '/mapping/pci', '/mapping/usb/edge-none', '/mapping'])
      expect(may(path)).toBe('refuse');
  });

  it('may have rights on the guests and storages of tests', () => {
    const permissions = {
      ...RIGHTS,
      '/vms/90001': ['VM.Allocate'],
      '/storage/test-store-001': ['Datastore.AllocateSpace'],
    };
    expect(decideSite(theSite({ permissions }), PLACE).kind).toBe('proceed');
  });

  const plus = (path: string, privilege: string) => ({
    permissions: { ...RIGHTS, [path]: [...(RIGHTS[path] ?? []), privilege] },
  });
  const all = (change: Partial<SiteNode>) => ({ nodes: [aNode('s1', change), aNode('s2', change)] });
  const STORAGE = { content: ['images', 'rootdir'], enabled: true, active: true, available: 100 * GIB };
  const REFUSED: Record<string, [Partial<SiteFacts>, RegExp, Load?]> = {
    'its bridge has a port on one node': [
      { nodes: [aNode('s1'), aNode('s2', { bridge: { ports: ['eno2'] } })] },
      /s2: vmbr-lab has the port eno2/,
    ],
    'no node has the bridge': [all({ bridge: null }), /s1: there is no bridge vmbr-lab/],
    'nobody tells the ports of the bridge': [all({ bridge: {} }), /ports of vmbr-lab cannot be read/],
    'the bridges cannot be read': [all({ bridge: undefined }), /ports of vmbr-lab cannot be read/],
    'there is no storage': [all({ storage: null }), /there is no storage restore/],
    'the storage cannot be read': [all({ storage: undefined }), /storage restore cannot be read/],
    'the storage is switched off': [all({ storage: { ...STORAGE, enabled: false } }), /not active/],
    'the storage is not active': [all({ storage: { ...STORAGE, active: false } }), /not active/],
    'the storage holds no containers': [all({ storage: { ...STORAGE, content: ['images'] } }), /not for rootdir/],
    'the storage holds no VMs': [all({ storage: { ...STORAGE, content: ['rootdir'] } }), /not for images/, aLoad()],
    'the room is not known': [all({ storage: { ...STORAGE, available: undefined } }), /room on restore cannot be read/],
    'there is no room': [all({ storage: { ...STORAGE, available: GIB } }), /no room: 1024 of 2048 MiB/],
    'the guest leaves too little': [all({ storage: { ...STORAGE, available: 11 * GIB } }), /no room/, aLoad()],
    'there is no memory': [all({ memoryFree: 1_000 }), /memory left/],
    'the memory is not known': [all({ memoryFree: undefined }), /free memory cannot be read/],
    'no node is there': [{ nodes: [], unread: ['nodes: no answer'] }, /nodes: no answer/],
    'it is not quorate': [{ quorate: false }, /not quorate/],
    'nobody knows whether it is quorate': [{ quorate: undefined, unread: ['cluster status: x'] }, /cluster status: x/],
    'there is no pool': [{ hasPool: false }, /no pool restore-test/],
    'the pool cannot be read': [{ hasPool: undefined }, /pool restore-test cannot be read/],
    'the rights cannot be read': [{ permissions: undefined }, /rights of the token cannot be read/],
    'the token may do nothing': [{ permissions: {} }, /lacks VM.Allocate on \/pool\/restore-test/],
    'the token may start any guest': [plus('/vms', 'VM.PowerMgmt'), /VM.PowerMgmt on \/vms$/m],
    'the token may touch a guest of production': [plus('/vms/101', 'VM.Config.Options'), /on \/vms\/101/],
    'the token may fill any storage': [plus('/storage', 'Datastore.AllocateSpace'), /AllocateSpace on \/storage$/m],
    'the token may use another bridge': [plus('/sdn/zones/localnetwork/vmbr0', 'SDN.Use'), /vmbr0/],
    'the token may use a bridge with a longer name': [
      plus('/sdn/zones/localnetwork/vmbr-lab2', 'SDN.Use'),
      /vmbr-lab2/,
    ],
    'the token may use every bridge': [plus('/sdn', 'SDN.Use'), /SDN.Use on \/sdn$/m],
    'the token may fill another pool': [plus('/pool/restore-test2', 'VM.Allocate'), /restore-test2/],
    'the token may give rights': [plus('/', 'Permissions.Modify'), /Permissions.Modify on \/$/m],
  };
  it.each(Object.entries(REFUSED))('refuses when %s', (_, [change, why, load]) => {
    const decision = decideSite(theSite(change), PLACE, load);
    if (decision.kind === 'proceed') throw new Error('it went on');
    expect([decision.why, ...(decision.detail ?? [])].join('\n')).toMatch(why);
  });
});

describe('a restored guest', () => {
  const VM = {
    name: 'pos',
    agent: '1',
    boot: 'order=scsi0',
    cores: '2',
    memory: '4096',
    net0: 'virtio=BC:24:11:00:00:01,bridge=vmbr-lab',
    onboot: '0',
    scsi0: 'restore:vm-90001-disk-0,size=32G',
    efidisk0: 'file=restore:vm-90001-disk-1,size=4M',
    ide2: 'none,media=cdrom',
    scsihw: 'virtio-scsi-single',
    serial0: 'socket',
    smbios1: 'uuid=x',
    vmgenid: 'x',
    digest: 'x',
    description: 'x',
  };
  const CT = {
    arch: 'amd64',
    hostname: 'inventory',
    memory: '1024',
    swap: '512',
    ostype: 'debian',
    unprivileged: '1',
    features: 'nesting=1,keyctl=1',
    net0: 'name=eth0,bridge=vmbr-lab,hwaddr=x,ip=dhcp,type=veth',
    rootfs: 'restore:vm-90002-disk-0,size=8G',
    mp0: 'volume=restore:vm-90002-disk-1,mp=/data',
  };
  const aGuest = (change: Partial<RestoredGuest> = {}): RestoredGuest => ({
    vmid: 90_001,
    kind: 'qemu',
    config: VM,
    inPool: true,
    ha: false,
    node: aNode('s1'),
    ...change,
  });
  const vm = (change: Record<string, string>) => ({ config: { ...VM, ...change } });
  const ct = (change: Record<string, string>): Partial<RestoredGuest> => ({
    kind: 'lxc',
    config: { ...CT, ...change },
  });

  const SAFE: Record<string, Partial<RestoredGuest>> = {
    'a VM that is alone on the bridge': {},
    'a container that is alone on the bridge': ct({}),
    'a VM with several cards on the bridge': vm({ net1: 'virtio=x,bridge=vmbr-lab,firewall=1' }),
    'a VM with a screen that is passed to it by name': vm({ usb0: 'spice' }),
    'a VM without a word about starting with its node': { config: { scsi0: VM.scsi0 } },
  };
  it.each(Object.entries(SAFE))('is safe: %s', (_, change) => {
    expect(decideStart(aGuest(change), PLACE)).toEqual({ kind: 'safe' });
  });

  const UNSAFE: Record<string, [Partial<RestoredGuest>, RegExp]> = {
    'its card is on another bridge': [vm({ net0: 'virtio,bridge=vmbr0' }), /net0/],
    'a second card is on another bridge': [vm({ net1: 'virtio,bridge=vmbr0' }), /net1/],
    'a card of it is on a bridge with a longer name': [vm({ net0: 'virtio,bridge=vmbr-lab2' }), /net0/],
    'a card of it names two bridges': [vm({ net0: 'virtio,bridge=vmbr-lab,bridge=vmbr0' }), /net0/],
    'a card of it is behind the address of its node': [vm({ net0: 'virtio=BC:24:11:00:00:01' }), /net0/],
    'a container has a card elsewhere': [ct({ net3: 'name=eth3,bridge=vmbr0' }), /net3/],
    'it starts with its node': [vm({ onboot: '1' }), /start with its node/],
    'HA starts it': [{ ha: true }, /HA/],
    'nobody knows about HA': [{ ha: undefined }, /HA/],
    'it is in no pool': [{ inPool: false }, /not in restore-test/],
    'its pool is not known': [{ inPool: undefined }, /pool is not known/],
    'its settings are not known': [{ config: undefined }, /settings cannot be read/],
    'its id is not one for tests': [{ vmid: 101 }, /101/],
    'its id is beyond those for tests': [{ vmid: 100_000 }, /100000/],
    'the bridge has a port now': [{ node: aNode('s1', { bridge: { ports: ['eno2'] } }) }, /without a port/],
    'the bridge is gone': [{ node: aNode('s1', { bridge: null }) }, /without a port/],
    'the ports of the bridge are not known': [{ node: aNode('s1', { bridge: {} }) }, /without a port/],
    'a disk is elsewhere': [vm({ scsi1: 'local-lvm:vm-101-disk-0' }), /scsi1/],
    'a disk is on a storage with a longer name': [vm({ virtio0: 'restore2:vm-90001-disk-0' }), /virtio0/],
    'a disk of the node is passed to it': [vm({ sata0: '/dev/sdb' }), /sata0/],
    'an image is in its drive': [vm({ ide2: 'local:iso/debian.iso,media=cdrom' }), /ide2/],
    'a device is passed to it': [vm({ hostpci0: '0000:01:00.0' }), /hostpci0/],
    'a USB device is passed to it': [vm({ usb0: 'host=1234:5678' }), /usb0/],
    'a serial port is passed to it': [vm({ serial1: '/dev/ttyS0' }), /serial1/],
    'a parallel port is passed to it': [vm({ parallel0: '/dev/parport0' }), /parallel0/],
    'a folder of the node is shared with it': [vm({ virtiofs0: 'dirid=data' }), /virtiofs0/],
    'it is started with words of its own': [vm({ args: '-netdev user,id=x' }), /args/],
    'it runs a script on its node': [vm({ hookscript: 'local:snippets/x.pl' }), /hookscript/],
    'it has a setting that nobody knows': [vm({ teleport: '1' }), /teleport/],
    'a folder of the node is mounted in a container': [ct({ mp1: '/srv/data,mp=/data' }), /mp1/],
    'a device is passed to a container': [ct({ dev0: '/dev/ttyUSB0' }), /dev0/],
    'a container has raw settings': [ct({ lxc: '[["lxc.mount.entry","/srv"]]' }), /lxc/],
    'a container may mount what it likes': [ct({ features: 'nesting=1,mount=nfs' }), /features/],
    'it is locked': [vm({ lock: 'create' }), /locked \(create\)/],
    'it is a template': [vm({ template: '1' }), /template/],
    'it needs more memory than there is': [{ node: aNode('s1', { memoryFree: GIB }) }, /needs 4096 MiB, s1 has 1024/],
    'it says in no way how much memory it needs': [vm({ memory: 'much' }), /needs/],
    'the memory of its node is not known': [{ node: aNode('s1', { memoryFree: undefined }) }, /memory of s1/],
  };
  it.each(Object.entries(UNSAFE))('is not safe when %s', (_, [change, why]) => {
    const decision = decideStart(aGuest(change), PLACE);
    expect(decision).toEqual({ kind: 'unsafe', why: [expect.stringMatching(why) as string] });
  });

  it.each([
    ['1', true],
    ['enabled=1,fstrim_cloned_disks=1', true],
    ['type=virtio,enabled=1', true],
    ['0', false],
    ['enabled=0', false],
    [undefined, false],
  ])('with agent: %s has one: %s', (agent, has) => {
    expect(hasAgent(agent === undefined ? {} : { agent })).toBe(has);
  });
});

describe('a restore that ended badly', () => {
  const pbs = "command '/usr/bin/pbs-restore … --skip-zero' failed: exit code 255";
  const client = "command '/usr/bin/proxmox-backup-client restore …' failed: exit code 255";
  const CASES: Record<string, [fault: 'guest' | 'site', exit: string, lines: string[], why: RegExp]> = {
    'a chunk is missing': [
      'guest',
      pbs,
      ['restore failed: reading file "/mnt/x/.chunks/ab12/ab12" failed: No such file or directory (os error 2)'],
      /^reading file .*os error 2\)$/,
    ],
    'a chunk is damaged': ['guest', pbs, ['restore failed: detected chunk with wrong digest.'], /wrong digest/],
    'there is no key': ['guest', client, ['Error: missing key - manifest was created with key 1a:2b'], /^missing key/],
    'the key is another': ['guest', client, ["Error: wrong key - manifest's key 1a does not match 2b"], /^wrong key/],
    'the snapshot is gone': [
      'guest',
      client,
      ["Error: no such snapshot 'vm/101/2026-11-26T01:00:00Z'"],
      /no such snap/,
    ],
    'the backup server is away': [
      'site',
      client,
      ['Error: error trying to connect: tcp connect error: Connection refused (os error 111)'],
      /Connection refused/,
    ],
    'the line broke': ['site', pbs, ['restore failed: connection error: connection reset'], /connection reset/],
    'the token is refused': ['site', client, ['Error: permission check failed'], /permission check/],
    'the storage is full': ['site', "lvcreate 'x' error: free space in thin pool reached threshold.", [], /thin pool/],
    'a bridge was refused': ['site', '403 Permission check failed (/sdn/zones/x/vmbr0, SDN.Use)', [], /SDN.Use/],
    'its node went down': ['site', 'unexpected status', [], /unexpected status/],
    'nobody knows why': ['site', 'something else', ['progress 50%'], /something else/],
  };
  it.each(Object.entries(CASES))('because %s', (_, [fault, exit, lines, why]) => {
    const log = ['new volume ID is …', ...lines, `TASK ERROR: ${exit}`];
    const judged = judgeRestore(exit, log);
    expect(judged.fault).toBe(fault);
    expect(judged.why).toMatch(why);
  });

  it('tells the last words of a long log', () => {
    const lines = Array.from({ length: 100 }, (_, i) => `error number ${i}`);
    expect(judgeRestore('x', lines).detail).toEqual(lines.slice(-5));
  });
});

describe('the notes of a guest under test', () => {
  const MARK: TrialMark = {
    run: 'restores-2026-w48',
    store: 'store-001',
    snapshot: snapshotName({ type: 'ct', id: '102', time: Date.UTC(2026, 10, 26, 1) / 1_000 }),
    askedAt: '2026-11-26T03:00:00.123Z',
  };

  it('say which trial it is of, also with the line end that a config file gives them', () => {
    expect(MARK.snapshot).toBe('ct/102/2026-11-26T01:00:00Z');
    expect(readMark(writeMark(MARK))).toEqual(MARK);
    expect(readMark(`${writeMark(MARK)}\n`)).toEqual(MARK);
  });

  it.each([undefined, '', 'of a person', `${writeMark(MARK)} more`, writeMark({ ...MARK, askedAt: '2026-99-99' })])(
    'that are of nobody: %s',
    (notes) => {
      expect(readMark(notes)).toBeUndefined();
    },
  );

  it('tell one trial from another', () => {
    expect(isSameTrial(MARK, { ...MARK, askedAt: 'later' })).toBe(true);
    for (const name of ['run', 'store', 'snapshot'] as const) {
      expect(isSameTrial(MARK, { ...MARK, [name]: 'other' })).toBe(false);
    }
    expect(copyStorage(MARK.store)).toBe('test-store-001');
  });
});

describe('whose a guest with an id for tests is', () => {
  const MARK: TrialMark = {
    run: 'r',
    store: 's',
    snapshot: 'vm/101/2026-11-26T01:00:00Z',
    askedAt: '2026-11-26T03:00:00Z',
  };
  const aTask = (type: string, startTime: number, change: Partial<SiteTask> = {}): SiteTask => ({
    type,
    node: 'n1',
    own: false,
    startTime,
    endTime: startTime + 5,
    status: 'OK',
    ...change,
  });
  const ours = (status?: string): SiteTask => ({ ...aTask('qmrestore', 100, { own: true, endTime: 105 }), status });
  const FAILED = 'command failed: exit code 255';
  const LOST = 'unexpected status';
  const someone = (config: Record<string, string>, tasks: SiteTask[], record?: TrialMark) =>
    whoseIs({ kind: 'qemu', node: 'n1', config }, tasks, record).kind;
  const elsewhere = (type: string, startTime: number, own = true): SiteTask =>
    aTask(type, startTime, { own, node: 'n2' });

  const bare: [string, ReturnType<typeof someone>, SiteTask[], config?: Record<string, string>][] = [
    ['our restore still runs', 'remainder', [ours()]],
    ['our restore failed', 'remainder', [ours(FAILED)]],
    ['our restore died', 'remainder', [ours(LOST)]],
    ['our restore ended well, so it has had notes', 'unknown', [ours('OK')]],
    ['our restore ended well, and a destroy died half-way', 'remainder', [ours('OK')], { lock: 'destroyed' }],
    ['it was destroyed half-way, and was never ours', 'unknown', [], { lock: 'destroyed' }],
    [
      'somebody made it after ours, and destroyed it half-way',
      'unknown',
      [ours('OK'), aTask('qmcreate', 101)],
      { lock: 'destroyed' },
    ],
    ['a destroy runs since', 'remainder', [ours(FAILED), aTask('qmdestroy', 101, { status: undefined })]],
    ['a destroy failed since', 'remainder', [ours(FAILED), aTask('qmdestroy', 101, { status: FAILED })]],
    ['a destroy ended well since', 'unknown', [ours(FAILED), aTask('qmdestroy', 101)]],
    ['our own destroy ended well since', 'unknown', [ours(FAILED), aTask('qmdestroy', 101, { own: true })]],
    ['a destroy ended well in the same second', 'unknown', [ours(FAILED), aTask('qmdestroy', 100)]],
    ['a destroy ended well before', 'remainder', [aTask('qmdestroy', 99), ours(FAILED)]],
    [
      'somebody tried to make one since, in vain',
      'unknown',
      [ours(FAILED), aTask('qmcreate', 101, { status: FAILED })],
    ],
    ['somebody makes one now', 'unknown', [ours(FAILED), aTask('qmrestore', 101, { status: undefined })]],
    ['our restore was on another node', 'unknown', [{ ...ours(FAILED), node: 'n2' }]],
    ['our restore was of a container', 'unknown', [{ ...ours(FAILED), type: 'vzrestore' }]],
    ['it was made later, by its own word', 'unknown', [ours(FAILED)], { meta: 'creation-qemu=10.1,ctime=106' }],
    ['it was made by our restore, by its own word', 'remainder', [ours(FAILED)], { meta: 'ctime=105' }],
    ['no task is known', 'unknown', []],
    [
      'the clock of a node on which we destroyed the one before is ahead',
      'remainder',
      [elsewhere('qmrestore', 110), elsewhere('qmdestroy', 120), ours(FAILED)],
    ],
    ['we destroyed it elsewhere, later than clocks differ', 'unknown', [ours(FAILED), elsewhere('qmdestroy', 500)]],
    ['somebody destroyed it elsewhere', 'unknown', [ours(FAILED), elsewhere('qmdestroy', 120, false)]],
  ];
  it.each(bare)('one without notes, when %s: %s', (_, kind, tasks, config = {}) => {
    expect(someone(config, tasks)).toBe(kind);
  });

  const OTHER = { ...MARK, run: 'another' };
  const marked: [string, ReturnType<typeof someone>, SiteTask[], record?: TrialMark][] = [
    ['our restore came last', 'marked', [aTask('qmcreate', 90), ours('OK')]],
    ['our restore still runs', 'marked', [ours()]],
    ['no restore of ours is known, as of a clone of another guest under test', 'unknown', []],
    ['nobody knows the tasks any more, and we have it on record', 'marked', [], MARK],
    ['nobody knows the tasks any more, and we have another test on record', 'unknown', [], OTHER],
    ['our restore failed, so the notes are not of it', 'unknown', [ours(FAILED)]],
    ['our restore failed, and we have it on record', 'marked', [ours(FAILED)], MARK],
    ['only a test before it is known, which we took away', 'unknown', [ours('OK'), aTask('qmdestroy', 110)]],
    ['we have it on record, and took it away', 'unknown', [ours('OK'), aTask('qmdestroy', 110, { own: true })], MARK],
    [
      'the clock of a node on which we took the one before away is ahead',
      'marked',
      [elsewhere('qmrestore', 110), elsewhere('qmdestroy', 120), ours('OK')],
    ],
    ['we took one away elsewhere, later than clocks differ', 'unknown', [ours('OK'), elsewhere('qmdestroy', 500)]],
    ['somebody took one away elsewhere', 'unknown', [ours('OK'), elsewhere('qmdestroy', 120, false)]],
    ['a test before it was taken away in the same second', 'marked', [aTask('qmdestroy', 100), ours('OK')]],
    ['a destroy of it failed', 'marked', [ours('OK'), aTask('qmdestroy', 101, { own: true, status: LOST })]],
    ['somebody destroyed it since', 'unknown', [ours('OK'), aTask('qmdestroy', 101)]],
    ['somebody had a backup of it back since', 'unknown', [ours('OK'), aTask('qmrestore', 101)]],
    ['somebody had one back in the same second', 'unknown', [ours('OK'), aTask('qmrestore', 100)]],
    ['somebody made one, and no restore of ours is known', 'unknown', [aTask('qmcreate', 90)]],
  ];
  it.each(marked)('one with the notes of a test, when %s: %s', (_, kind, tasks, record) => {
    expect(someone({ description: writeMark(MARK) }, tasks, record)).toBe(kind);
  });

  it('one with notes of its own, whatever was done there', () => {
    expect(someone({ description: 'mine' }, [ours(FAILED)])).toBe('unknown');
    expect(someone({ description: '', lock: 'destroyed' }, [ours(FAILED)])).toBe('unknown');
  });
});

describe('the cards of a restored guest', () => {
  it('are all that its backup has, each on the bridge where it is alone', () => {
    const archived = {
      name: 'pos',
      net0: 'virtio=BC:24:11:00:00:01,bridge=vmbr0',
      net12: 'e1000=x,bridge=vmbr1,tag=7',
    };
    expect(cardsFor('qemu', archived, PLACE)).toEqual({
      net0: 'virtio,bridge=vmbr-lab',
      net12: 'virtio,bridge=vmbr-lab',
    });
  });

  it('of a container keep the names that it knows them by', () => {
    const archived = { net0: 'name=lan,bridge=vmbr0,ip=dhcp', net1: 'bridge=vmbr1,name=eth9', net2: 'bridge=vmbr1' };
    expect(cardsFor('lxc', archived, PLACE)).toEqual({
      net0: 'name=lan,bridge=vmbr-lab',
      net1: 'name=eth9,bridge=vmbr-lab',
      net2: 'name=eth2,bridge=vmbr-lab',
    });
  });

  it('are one when its backup has none, or could not be read', () => {
    expect(cardsFor('qemu', {}, PLACE)).toEqual({ net0: 'virtio,bridge=vmbr-lab' });
  });
});
