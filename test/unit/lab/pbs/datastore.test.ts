import { describe, expect, it } from 'vitest';
import { NO_GC, type GcStatus } from '#lab/world/pbs/chunk-store.js';
import { chunkBytes, chunksOf, DISK_BYTES, type DiskContent } from '#lab/world/pbs/content.js';
import { chunksOfSnapshot, Datastore, type Group, type Snapshot } from '#lab/world/pbs/datastore.js';

const HOUR = 3_600_000;
const KEY = 'aa:bb:cc:dd:ee';

const disk = (change: Partial<DiskContent> = {}): DiskContent => ({
  origin: 'store-001/101',
  kind: 'qemu',
  revision: 5,
  files: '[]',
  ...change,
});

class Subject {
  readonly datastore = new Datastore({ name: 'backup', path: '/mnt/datastore/backup' });
  now = Date.UTC(2026, 10, 1);

  backUp(content = disk(), { id = '101', fingerprint }: { id?: string; fingerprint?: string } = {}) {
    const where = { ns: '', type: 'vm' as const, id, owner: 'a@pbs!x' };
    const { group, snapshot } = this.datastore.begin(where, content, { now: this.now, fingerprint });
    const sent = this.datastore.missing(group, snapshot);
    this.datastore.write(sent, snapshot, this.now);
    this.datastore.finish(group, snapshot, this.now);
    return { group, snapshot, sent };
  }

  collect(): GcStatus {
    const status = { ...NO_GC };
    this.datastore.mark(this.now, status);
    this.datastore.chunks.sweep(this.now, this.now - 24 * HOUR - 300_000, status);
    return status;
  }

  check(snapshot: Snapshot) {
    return this.datastore.check(snapshot, { good: new Set(), bad: new Set() }).map(({ what }) => what);
  }
}

const sum = (ids: string[]): number => ids.reduce((bytes, id) => bytes + chunkBytes(id), 0);

describe('the chunks of a disk', () => {
  it('are the same for the same moment, and differ by one for the next', () => {
    const [one, same, next] = [disk(), disk(), disk({ revision: 6 })].map((each) => chunksOf(each, undefined));
    expect(same).toEqual(one);
    expect(next?.filter((id) => !one?.includes(id))).toHaveLength(1);
  });

  it('are all others after as many writes as it has places', () => {
    const [one = [], later = []] = [disk(), disk({ revision: 5 + 48 })].map((each) => chunksOf(each, undefined));
    expect(later.filter((id) => one.includes(id)).map((id) => id.split(':')[0])).toEqual(['store-001/101', 'zeros']);
  });

  it('share nothing with those that a key made', () => {
    const plain = chunksOf(disk(), undefined);
    expect(chunksOf(disk(), KEY).filter((id) => plain.includes(id))).toEqual([]);
  });
});

describe('a datastore', () => {
  it('stores what two snapshots have in common once', () => {
    const subject = new Subject();
    const first = subject.backUp();
    const used = subject.datastore.chunks.bytes;
    expect(used).toBe(sum(chunksOfSnapshot(first.snapshot)));
    const second = subject.backUp(disk({ revision: 8 }));
    expect(second.sent).toHaveLength(3);
    expect(subject.datastore.chunks.bytes).toBe(used + sum(second.sent));
  });

  it('stores the template of two guests once, unless they are encrypted with keys of their own', () => {
    const subject = new Subject();
    const first = subject.backUp(disk({ revision: 0 }));
    const other = subject.backUp(disk({ origin: 'store-001/102', revision: 0 }), { id: '102' });
    // 16 of the template, and the one of zeros.
    expect(first.sent.length - other.sent.length).toBe(17);
  });

  it('takes no second writer of a group, and no other owner', () => {
    const { datastore, now } = new Subject();
    const where = { ns: '', type: 'vm' as const, id: '101', owner: 'a@pbs!x' };
    datastore.begin(where, disk(), { now });
    expect(() => datastore.begin(where, disk(), { now })).toThrow('another backup is already running');
    expect(() => datastore.begin({ ...where, owner: 'b@pbs!y' }, disk(), { now })).toThrow(
      'backup owner check failed (b@pbs!y != a@pbs!x)',
    );
  });

  it('refuses a write when its disk is full', () => {
    const subject = new Subject();
    subject.datastore.full = true;
    expect(() => subject.backUp()).toThrow('No space left on device (os error 28)');
  });

  const modes: [string, ('read' | 'write')[]][] = [
    ['read-only', ['write']],
    ['offline', ['read', 'write']],
    ['read-only,message="moving disks"', ['write']],
  ];
  for (const [mode, refused] of modes) {
    it(`in maintenance ${mode} refuses to ${refused.join(' and ')}`, () => {
      const { datastore } = new Subject();
      datastore.config['maintenance-mode'] = mode;
      const refusals = (['read', 'write'] as const).filter((operation) => {
        try {
          datastore.require(operation);
          return false;
        } catch (error) {
          expect((error as Error).message).toMatch(/^(read-only|offline) maintenance mode: (moving disks)?$/);
          return true;
        }
      });
      expect(refusals).toEqual(refused);
    });
  }

  it('sees only the groups of the namespace that is asked for', () => {
    const { datastore } = new Subject();
    datastore.addNamespace('', 'shop');
    datastore.begin({ ns: 'shop', type: 'ct', id: '7', owner: 'a@pbs!x' }, disk(), { now: 0 });
    expect([datastore.groups('').length, datastore.groups('shop').length]).toEqual([0, 1]);
    expect(() => datastore.namespace('nope')).toThrow('ENOENT');
  });
});

describe('a verification', () => {
  it('finds a rotten chunk, sets it aside, and misses it from then on', () => {
    const subject = new Subject();
    const { snapshot } = subject.backUp();
    expect(subject.check(snapshot)).toEqual([]);
    const [rotten = ''] = chunksOfSnapshot(snapshot);
    subject.datastore.chunks.damage(rotten);
    expect(subject.check(snapshot)).toEqual(['rotten']);
    expect(subject.datastore.chunks.bad).toEqual([`${rotten}.0.bad`]);
    expect(subject.check(snapshot)).toEqual(['gone']);
  });

  it('that failed makes the next backup send everything that is missing, which heals the older one', () => {
    const subject = new Subject();
    const { snapshot } = subject.backUp();
    const [rotten = ''] = chunksOfSnapshot(snapshot);
    subject.datastore.chunks.damage(rotten);
    subject.check(snapshot);
    // As long as nobody says that the base is broken, the client does not send what it believes to be there.
    expect(subject.backUp().sent).toEqual([]);
    const broken = new Subject();
    const base = broken.backUp();
    broken.datastore.chunks.damage(rotten);
    broken.check(base.snapshot);
    base.snapshot.verification = { state: 'failed', upid: 'x' };
    expect(broken.backUp().sent).toEqual([rotten]);
    expect(broken.check(base.snapshot)).toEqual([]);
  });
});

describe('garbage collection', () => {
  /** Two snapshots, of which the first is forgotten. */
  function half(): { subject: Subject; group: Group; gone: number } {
    const subject = new Subject();
    const { group, snapshot } = subject.backUp();
    subject.now += HOUR;
    const second = subject.backUp(disk({ revision: 8 }));
    subject.datastore.removeSnapshot(group, snapshot);
    return { subject, group, gone: second.sent.length };
  }

  it('takes what nobody has used for a day and five minutes', () => {
    const { subject, gone } = half();
    const used = subject.datastore.chunks.bytes;
    subject.now += 23 * HOUR + 360_000;
    const status = subject.collect();
    expect([status['pending-chunks'], status['removed-chunks']]).toEqual([0, gone]);
    expect(subject.datastore.chunks.bytes).toBe(used - status['removed-bytes']);
  });

  it('leaves it a minute earlier, and counts it as pending', () => {
    const { subject, gone } = half();
    const used = subject.datastore.chunks.bytes;
    subject.now += 23 * HOUR + 240_000;
    const status = subject.collect();
    expect([status['pending-chunks'], status['removed-chunks'], status['still-bad']]).toEqual([gone, 0, 0]);
    expect(status['disk-bytes'] + status['pending-bytes']).toBe(used);
    expect(status['index-data-bytes']).toBe(DISK_BYTES.qemu);
    expect(status['index-file-count']).toBe(1);
  });

  it('keeps a rotten chunk while a snapshot refers to it, and takes it a day after none does', () => {
    const { subject, group } = half();
    const [snapshot] = group.snapshots as [Snapshot];
    const [rotten = ''] = chunksOfSnapshot(snapshot);
    subject.datastore.chunks.damage(rotten);
    subject.check(snapshot);
    subject.now += 48 * HOUR;
    expect(subject.collect()['still-bad']).toBe(1);
    subject.datastore.removeSnapshot(group, snapshot);
    subject.now += 25 * HOUR;
    expect(subject.collect()).toMatchObject({ 'still-bad': 0, 'removed-bad': 1, 'disk-chunks': 0, 'disk-bytes': 0 });
    expect(subject.datastore.chunks.bytes).toBe(0);
  });

  it('tells of chunks that a snapshot refers to and that are gone', () => {
    const subject = new Subject();
    const { snapshot } = subject.backUp();
    const [rotten = ''] = chunksOfSnapshot(snapshot);
    subject.datastore.chunks.damage(rotten);
    subject.check(snapshot);
    expect(subject.datastore.mark(subject.now, { ...NO_GC })).toHaveLength(1);
  });

  it('cannot mark on a full disk', () => {
    const subject = new Subject();
    subject.datastore.full = true;
    expect(() => subject.collect()).toThrow('ENOSPC');
  });
});
