import { afterEach, beforeEach, describe, expect, test } from 'vitest';
import { ManualClock } from '../../../engine/testing/manual-clock.ts';
import { systemClock } from '../../system-clock.ts';
import { createKubeClient, type KubeClient } from './kube-client.ts';
import { KubeError } from './kube-error.ts';
import { createLeaderElection, type LeaderElection, type LeaderElectionOptions } from './lease.ts';
import type { Lease } from './lease-core.ts';
import { objectPath, RESOURCES } from './paths.ts';
import { TestApiServer } from './testing/api-server.ts';
import { until } from './testing/until.ts';

const NAME = { namespace: 'system', name: 'pilotlight-controller' };
const path = objectPath({ ...RESOURCES.leases, ...NAME });

interface Candidate {
  election: LeaderElection;
  /** What it was told, in order. */
  told: string[];
  /** What happens to its calls from now on. */
  network: 'up' | 'down' | 'answers-lost';
}

function candidate(
  client: Pick<KubeClient, 'get' | 'create' | 'replace'>,
  identity: string,
  options: Partial<LeaderElectionOptions> = {},
): Candidate {
  const told: string[] = [];
  const through = async <Result>(call: () => Promise<Result>): Promise<Result> => {
    if (self.network === 'down') throw new KubeError('unavailable', 'cut off');
    const result = await call();
    if (self.network === 'answers-lost') throw new KubeError('timeout', 'the answer was lost');
    return result;
  };
  const self: Candidate = {
    told,
    network: 'up',
    election: createLeaderElection({
      client: {
        get: (...args) => through(() => client.get(...args)),
        create: (...args) => through(() => client.create(...args)),
        replace: (...args) => through(() => client.replace(...args)),
      },
      clock: systemClock,
      ...NAME,
      identity,
      leaseDurationMs: 1_000,
      renewDeadlineMs: 700,
      retryMs: 150,
      onElected: (epoch) => told.push(`elected ${epoch}`),
      onLost: (reason) => told.push(`lost: ${reason}`),
      onHolder: (holder) => told.push(`holder ${holder}`),
      ...options,
    }),
  };
  self.election.start();
  return self;
}

describe('against an API server', () => {
  let server: TestApiServer;
  let client: KubeClient;
  const candidates: Candidate[] = [];

  const stand = (identity: string): Candidate => {
    const standing = candidate(client, identity);
    candidates.push(standing);
    return standing;
  };
  const lease = async (): Promise<Lease | undefined> => client.get<Lease>(path);
  /** Waits until the Lease was renewed so many times more. */
  const renewals = async (count: number): Promise<void> => {
    const renewTime = async (): Promise<string | undefined> => (await lease())?.spec?.renewTime;
    let last = await renewTime();
    for (let seen = 0; seen < count; seen++) {
      const before = last;
      await expect
        .poll(async () => (last = await renewTime()), { timeout: 5_000, interval: 10 })
        .not.toBe(before);
    }
  };

  beforeEach(async () => {
    server = await TestApiServer.start();
    client = createKubeClient({ access: server.access, version: '0' });
  });

  afterEach(async () => {
    for (const { election } of candidates.splice(0)) await election.stop();
    await client.close();
    await server.close();
  });

  test('the first is elected, the second follows and knows whom', async () => {
    const first = stand('first');
    await until(() => first.election.leading());
    const second = stand('second');
    await until(() => second.election.holder() === 'first');
    expect(second.election.leading()).toBe(false);
    expect(second.election.epoch).toBeUndefined();
    expect(first.told).toEqual(['holder first', `elected ${first.election.epoch}`]);
    expect((await lease())?.spec?.renewTime).toMatch(/\.\d{6}Z$/);
  });

  test('a leader renews for as long as it lives', async () => {
    const first = stand('first');
    const second = stand('second');
    await until(() => first.election.leading() || second.election.leading());
    const { epoch } = first.election.leading() ? first.election : second.election;
    await renewals(16);
    expect((await lease())?.spec?.leaseTransitions).toBe(epoch);
    expect([...first.told, ...second.told].filter((what) => what.startsWith('lost'))).toEqual([]);
  });

  test('a leader that stops gives the Lease up, and the next leads at once with the next epoch', async () => {
    const first = stand('first');
    await until(() => first.election.leading());
    const { epoch = 0 } = first.election;
    const second = stand('second');
    await until(() => second.election.holder() === 'first');
    const stoppedMs = performance.now();
    await first.election.stop();
    expect(first.told.at(-1)).toBe('lost: stopped');
    expect(first.election.leading()).toBe(false);
    await until(() => second.election.leading());
    expect(performance.now() - stoppedMs).toBeLessThan(500);
    expect(second.election.epoch).toBe(epoch + 1);
  });

  test('a leader that is cut off stops leading before another begins', async () => {
    const first = stand('first');
    await until(() => first.election.leading());
    const second = stand('second');
    await until(() => second.election.holder() === 'first');
    first.network = 'down';
    await until(() => second.election.leading() || !first.election.leading());
    expect(second.election.leading()).toBe(false);
    // It leads no more by the clock, whatever moment it is told at.
    await until(() => first.told.at(-1) === 'lost: the lease could not be renewed in time');
    await until(() => second.election.leading());
    first.network = 'up';
    await until(() => first.election.holder() === 'second');
  });

  test('a restart under the same identity leads at once, as a leader of its own', async () => {
    const before = stand('pod_10.0.0.1');
    await until(() => before.election.leading());
    const { epoch = 0 } = before.election;
    before.network = 'down';
    const after = stand('pod_10.0.0.1');
    await until(() => after.election.leading(), 500);
    expect(after.election.epoch).toBe(epoch + 1);
  });

  test('answers that are lost, of writes that were done, cost the leader nothing', async () => {
    const first = stand('first');
    await until(() => first.election.leading());
    first.network = 'answers-lost';
    await new Promise((resolve) => setTimeout(resolve, 250));
    first.network = 'up';
    await renewals(5);
    expect(first.election.leading()).toBe(true);
    expect(first.told).toHaveLength(2);
  });

  test('a label that somebody sets on the Lease costs the leader nothing and is kept', async () => {
    const first = stand('first');
    await until(() => first.election.leading());
    await client.patch(path, 'merge', { metadata: { labels: { seen: 'yes' } } });
    await renewals(6);
    expect(first.election.leading()).toBe(true);
    expect(first.told).toHaveLength(2);
    expect((await lease())?.metadata?.labels).toEqual({ seen: 'yes' });
  });

  test('a Lease that somebody deletes ends the tenure; the epochs of the next are larger', async () => {
    const first = stand('first');
    await until(() => first.election.leading());
    const { epoch = 0 } = first.election;
    await client.patch(path, 'merge', {
      spec: { ...(await lease())?.spec, leaseTransitions: epoch - 9_000 },
    });
    await until(() => first.told.some((what) => what.startsWith('lost')));
    await until(() => first.election.leading());
    await client.delete(path);
    await until(() => first.told.includes('lost: the lease was deleted'));
    await until(() => first.election.leading());
    expect(first.election.epoch).toBeGreaterThanOrEqual(epoch);
  });

  test('a process that was held up knows at once that it leads no more', async () => {
    const first = stand('first');
    await until(() => first.election.leading());
    Atomics.wait(new Int32Array(new SharedArrayBuffer(4)), 0, 0, 800);
    expect(first.election.leading()).toBe(false);
    expect(first.election.epoch).toBeUndefined();
  });
});

describe('by the default times', () => {
  /** One Lease in memory, for two electors whose clocks a test turns. */
  function memoryLease(): Pick<KubeClient, 'get' | 'create' | 'replace'> {
    let stored: Lease | undefined;
    let version = 0;
    const write = (lease: Lease): Lease => {
      version += 1;
      stored = { ...lease, metadata: { ...lease.metadata, resourceVersion: String(version) } };
      return stored;
    };
    return {
      get: async <Type>() => stored as Type,
      create: async <Type>(_path: string, body: object) => write(body) as Type,
      replace: async <Type>(_path: string, body: object) => {
        const { metadata } = body as Lease;
        if (metadata?.resourceVersion !== String(version)) throw new KubeError('conflict', 'changed');
        return write(body) as Type;
      },
    };
  }

  const defaults = { leaseDurationMs: 5_000, renewDeadlineMs: 4_000, retryMs: 1_000 };

  test.each([0, 0.3, 0.6, 0.99])(
    'a leader that dies is followed in less than 8 s (jitter %f)',
    async (jitter) => {
      for (let dieAfterMs = 0; dieAfterMs < 2_000; dieAfterMs += 170) {
        const client = memoryLease();
        const [leaders, followers] = [new ManualClock(), new ManualClock()];
        const first = candidate(client, 'first', { clock: leaders, random: () => jitter, ...defaults });
        await leaders.settle();
        const second = candidate(client, 'second', { clock: followers, random: () => jitter, ...defaults });
        await followers.settle();
        for (let ms = 0; ms < 3_000 + dieAfterMs; ms += 10) {
          await leaders.advance(10);
          await followers.advance(10);
        }
        expect(first.election.leading()).toBe(true);
        // The first one's clock stands still from here on: it does nothing any more.
        const diedMs = followers.nowMs();
        await followers.until(() => second.election.leading());
        expect(followers.nowMs() - diedMs).toBeLessThan(8_000);
      }
    },
  );
});

test.each([
  { leaseDurationMs: 4_000, renewDeadlineMs: 4_000 },
  { leaseDurationMs: 4_500 },
  { retryMs: 4_000 },
  { identity: '' },
])('times that would let two lead are refused: %j', (options) => {
  expect(() =>
    createLeaderElection({
      client: {} as KubeClient,
      clock: systemClock,
      ...NAME,
      identity: 'me',
      onElected: () => undefined,
      onLost: () => undefined,
      ...options,
    }),
  ).toThrow(RangeError);
});
