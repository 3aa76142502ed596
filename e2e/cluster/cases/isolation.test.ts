import { expect, test } from 'vitest';
import { HEADERS } from '../../../contracts/headers.ts';
import { RESOURCES } from '../../../controller/adapters/kube/api/paths.ts';
import type { KubeObject } from '../../../controller/adapters/kube/api/wire.ts';
import type { StandbyPoolStatus } from '../../../crds/standby-pool.ts';
import { markIn, zeros } from '../../local/testing/marked-model.ts';
import { isWaitingStandby, onPlatform, type Pod } from './testing/platform.ts';
import { markedService } from './testing/services.ts';

/** Pods that pass from one service to another under load: no request is answered by another service's model. */
const on = onPlatform('isolation');

type Pool = KubeObject & { readonly status?: StandbyPoolStatus };

/** Two at a time are called; the others get their pods after them. */
const PAIRS = [
  ['first', 'second'],
  ['third', 'fourth'],
] as const;
const MARKS: Readonly<Record<string, number>> = { first: 11, second: 12, third: 13, fourth: 14 };
const ROUNDS = 3;
const ANSWERS_A_ROUND = 400;
/** The chart's quarantine is 30 s; another minute is for a busy machine. */
const PASS_ON_DEADLINE_MS = 90_000;

const SMALL = { requests: { cpu: '10m', memory: '64Mi' }, limits: { memory: '1Gi' } };
const POOL = {
  apiVersion: 'serving.pilotlight.dev/v1alpha1',
  kind: 'StandbyPool',
  metadata: { name: 'shared' },
  spec: { size: 2, resources: SMALL },
};

const podNames = (pods: readonly Pod[]): string[] => pods.map(({ metadata }) => metadata?.name ?? '');

test(
  'services that follow each other in the same pods never answer for one another',
  async () => {
    const services = Object.entries(MARKS).map(([name, mark]) =>
      markedService(name, mark, { predictor: { maxReplicas: 1 } }),
    );
    await on.apply(POOL, ...services);
    for (const name of Object.keys(MARKS)) await on.waitForReady(name);
    await on.waitForStandby(2);
    /** Services that a pod has served, in order. */
    const served = new Map<string, string[]>();

    for (let round = 0; round < ROUNDS; round += 1) {
      const pair = PAIRS[round % PAIRS.length] ?? PAIRS[0];
      const load = await on.load({
        targets: pair.map((name) => on.inference(name, zeros())),
        connections: 8,
      });
      await on.until(`${ANSWERS_A_ROUND} answers in round ${round + 1}`, async () => {
        const { bodies, answered } = await load.state();
        return answered >= ANSWERS_A_ROUND && bodies.every((counts) => Object.keys(counts).length > 0);
      });
      for (const name of pair) {
        await on.servingPod(name);
        for (const pod of await on.pods(name)) {
          const podName = pod.metadata?.name ?? '';
          const before = served.get(podName) ?? [];
          served.set(podName, [...before, name]);
          for (const former of before.filter((one) => one !== name)) await isTurnedAway(pod, former);
        }
      }
      const result = await load.end();
      expect(result.failures).toEqual([]);
      for (const [index, name] of pair.entries()) {
        const marks = Object.keys(result.bodies[index] ?? {}).map(markIn);
        expect(new Set(marks), `answers of ${name} in round ${round + 1}`).toEqual(new Set([MARKS[name]]));
      }
      await Promise.all(pair.map((name) => on.waitForZero(name)));
      await on.until(
        'their pods are anybody’s again',
        async () => {
          const waiting = (await on.pods()).filter(isWaitingStandby);
          const pool = await on.get<Pool>(RESOURCES.standbyPools, 'shared');
          const areAllUsed = podNames(waiting).every((name) => served.has(name));
          // Those that have served take the place of those that have not.
          return waiting.length === 2 && areAllUsed && (pool?.status?.quarantined ?? 0) === 0;
        },
        PASS_ON_DEADLINE_MS,
      );
    }
    // Or nothing would have been tried here.
    const passedOn = [...served.values()].filter((names) => new Set(names).size > 1);
    expect(passedOn, JSON.stringify([...served, podNames(await on.pods())])).not.toEqual([]);
  },
  ROUNDS * 2 * PASS_ON_DEADLINE_MS,
);

/** A caller who still has the address of a pod that has served `former` before, and now serves another. */
async function isTurnedAway(pod: Pod, former: string): Promise<void> {
  const { pathname } = new URL(on.inference(former, zeros()).url);
  const answer = await on.client.call({
    ...on.inference(former, zeros()),
    url: `http://${pod.status?.podIP}:8080${pathname}`,
    headers: { host: `${former}.${on.namespace}.svc.cluster.local` },
  });
  expect({ status: answer.status, code: answer.headers[HEADERS.error] }).toEqual({
    status: 421,
    code: 'wrong-service',
  });
}
