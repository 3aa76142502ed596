import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import type { ColdStart } from '../../contracts/cold-start.ts';
import { modelManifest } from './testing/manifests.ts';
import { ModelFolder, markedModelBytes, markIn, zeros } from './testing/marked-model.ts';
import { ModelStore } from './testing/model-store.ts';
import { TestPlatform } from './testing/platform.ts';
import { startTraffic, type Traffic } from './testing/traffic.ts';
import { waitFor } from './testing/wait-for.ts';

const models = new ModelFolder();

/** Some milliseconds of work, so that replicas and not connections bound the throughput. */
const SMALL_WORK = zeros(200);

function trafficTo(platform: TestPlatform, service: string, clients: number): Traffic {
  return startTraffic(
    clients,
    () => platform.infer(service, SMALL_WORK),
    (text) => String(markIn(text)),
  );
}

afterAll(() => models.remove());

function expectWhole(start: ColdStart): void {
  const sumMs = Object.values(start.phasesMs).reduce((sum, ms) => sum + ms, 0);
  // Within 5 %, and a millisecond for clocks that are read one after the other.
  expect(Math.abs(sumMs - start.totalMs)).toBeLessThan(start.totalMs * 0.05 + 1);
}

describe('a service under load', () => {
  const EIGHT = 8;
  let platform: TestPlatform;

  beforeAll(async () => {
    platform = await TestPlatform.start({
      standbys: 2,
      manifests: {
        'wide.json': modelManifest('wide', models.write(8), {
          scaling: { initialScale: 0 },
          predictor: { maxReplicas: EIGHT, containerConcurrency: 1 },
        }),
      },
    });
    await platform.waitForStandbys(2);
  });

  afterAll(() => platform.stop());

  it('goes from 0 to 8 replicas and back to 0, twice, and not one request fails', async () => {
    for (const round of [1, 2]) {
      const traffic = trafficTo(platform, 'wide', 12);
      await platform.waitForService(
        'wide',
        `has ${EIGHT} replicas in round ${round}`,
        ({ replicas }) => replicas.ready === EIGHT,
        25_000,
      );
      const atEight = traffic.answers;
      await waitFor('all of them serve', () => traffic.answers > atEight + 100);
      const heavy = await traffic.stop();
      expect(heavy.failures).toEqual([]);
      // Less and less, and always some: the replicas leave under load.
      const light = trafficTo(platform, 'wide', 1);
      await platform.waitForService(
        'wide',
        `scales in in round ${round}`,
        ({ replicas }) => replicas.wanted < EIGHT && replicas.ready < EIGHT,
        25_000,
      );
      const trickle = await light.stop();
      expect(trickle.failures).toEqual([]);
      expect([...trickle.byText.keys()]).toEqual(['8']);
      await platform.waitForZero('wide', 30_000);
    }
  });

  it('tells its decisions and cold starts over the API, with reasons and phases that add up', async () => {
    const decisions = await platform.decisions('wide');
    expect(decisions.length).toBeGreaterThan(3);
    for (const { reason, reasonCode, from, to } of decisions) {
      expect(reason).toMatch(/\d+ wanted: .*\d/);
      expect(reasonCode).not.toBe('');
      expect(from).not.toBe(to);
    }
    const reasons = decisions.map(({ to }) => to);
    expect(reasons).toContain(EIGHT);
    expect(reasons).toContain(0);
    expect(decisions.find(({ to }) => to === 0)?.reason).toContain('idle');

    const starts = (await platform.coldStarts()).filter(({ service }) => service === 'wide');
    expect(starts.length).toBeGreaterThanOrEqual(EIGHT);
    const answered = starts.filter(({ outcome }) => outcome === 'answered');
    expect(answered.length).toBeGreaterThanOrEqual(2);
    for (const start of answered) {
      expect(start.demanded).toBe(true);
      const phases = Object.keys(start.phasesMs);
      const began = start.via === 'standby' ? ['claimed'] : ['scheduled', 'started'];
      expect(phases).toEqual(
        expect.arrayContaining(['decided', ...began, 'fetched', 'created', 'routed', 'answered']),
      );
      expectWhole(start);
    }
    for (const start of starts)
      for (const ms of Object.values(start.phasesMs)) expect(ms).toBeGreaterThanOrEqual(0);
  });
});

describe('services that share standbys', () => {
  it('two that want the one standby at once are both served', async () => {
    const platform = await TestPlatform.start({
      standbys: 1,
      manifests: Object.fromEntries(
        [1, 2].map((mark) => [
          `s${mark}.json`,
          modelManifest(`s${mark}`, models.write(mark), {
            scaling: { initialScale: 0 },
            predictor: { maxReplicas: 1 },
          }),
        ]),
      ),
    });
    try {
      await platform.waitForStandbys(1);
      const answers = await Promise.all(['s1', 's2'].map((name) => platform.infer(name, zeros())));
      const texts = await Promise.all(answers.map((answer) => answer.text()));
      expect(answers.map(({ status }) => status)).toEqual([200, 200]);
      expect(texts.map(markIn)).toEqual([1, 2]);
      const vias = (await platform.coldStarts()).map(({ via }) => via).sort();
      expect(vias).toEqual(['new', 'standby']);
    } finally {
      await platform.stop();
    }
  });

  it('hand them from one to the other under load, and no request is answered by another one’s model', async () => {
    const store = await ModelStore.open();
    store.set('b.onnx', { kind: 'held', bytes: markedModelBytes(102) });
    const both = {
      scaling: { initialScale: 0, activationScale: 2 },
      predictor: { maxReplicas: 2, containerConcurrency: 1 },
    };
    const a = models.write(101);
    const platform = await TestPlatform.start({
      standbys: 2,
      // A standby may go to another service at once, while callers and activators still know it as the first one's.
      args: ['--quarantine', '0'],
      manifests: {
        'a.json': modelManifest('a', a, both),
        'b.json': modelManifest('b', store.url('b.onnx'), both),
        'c.json': modelManifest('c', models.write(103), both),
      },
    });
    try {
      await platform.waitForStandbys(2);
      const toA = trafficTo(platform, 'a', 4);
      await platform.waitForService('a', 'has both replicas', ({ replicas }) => replicas.ready === 2);
      const pids = (await platform.replicas('a')).map(({ pid }) => pid);
      await platform.waitForStandbys(2);
      // While these loads are under way the pool is not filled up by new processes: those of `a` do it.
      const toB = trafficTo(platform, 'b', 4);
      await waitFor('both standbys are taken', async () => (await platform.replicas('b')).length === 2);
      const annotations = { 'serving.kserve.io/stop': 'true' };
      platform.write('a.json', modelManifest('a', a, { ...both, annotations }));
      await waitFor('the processes of a are standbys', async () => {
        const standbys = (await platform.replicas()).filter(({ state }) => state === 'standby');
        return standbys.filter(({ pid }) => pids.includes(pid)).length === 2;
      });
      const toC = trafficTo(platform, 'c', 4);
      await waitFor('they are those of c', async () => {
        const ready = (await platform.replicas('c')).filter(({ state }) => state === 'ready');
        return ready.filter(({ pid }) => pids.includes(pid)).length === 2;
      });
      platform.write('a.json', modelManifest('a', a, both));
      store.release('b.onnx');
      const marks = [toA.answers, toB.answers, toC.answers];
      await waitFor('all three are served', () =>
        [toA, toB, toC].every(({ answers }, index) => answers > (marks[index] ?? 0) + 50),
      );
      const [ofA, ofB, ofC] = await Promise.all([toA.stop(), toB.stop(), toC.stop()]);
      expect([ofA, ofB, ofC].map(({ byText }) => [...byText.keys()])).toEqual([['101'], ['102'], ['103']]);
      expect([...ofB.failures, ...ofC.failures]).toEqual([]);
      expect(ofA.failures.filter((failure) => !failure.includes('is stopped'))).toEqual([]);
    } finally {
      await platform.stop();
      await store.close();
    }
  });
});
