import { expect, test } from 'vitest';
import { zeros } from '../../local/testing/marked-model.ts';
import { isReady, isWaitingStandby, mark, onPlatform } from './testing/platform.ts';
import { markedService } from './testing/services.ts';

/** Many services of one namespace are called at the same moment, with a pool of one standby. */
const on = onPlatform('burst');

const SERVICES = 50;
/** For all of them to be answered. */
const DEADLINE_MS = 180_000;

test(
  `${SERVICES} services answer from nothing at once, each with its own model, and nothing is left over`,
  async ({ annotate }) => {
    const names = Array.from({ length: SERVICES }, (_, index) => `burst-${index + 1}`);
    const options = { predictor: { maxReplicas: 1 }, scaling: { startTimeout: '180s' } };
    await on.apply(...names.map((name, index) => markedService(name, index + 1, options)));
    await on.until(
      'all of them are ready',
      async () => {
        const services = await Promise.all(names.map((name) => on.service(name)));
        return services.every(isReady);
      },
      DEADLINE_MS,
    );
    await on.waitForReady(names.at(-1) ?? '');
    await on.waitForStandby();
    expect((await on.pods()).filter((pod) => !isWaitingStandby(pod))).toEqual([]);

    const beganMs = performance.now();
    const calls = names.map((name) =>
      on.client.call({ ...on.inference(name, zeros()), timeoutMs: DEADLINE_MS }),
    );
    const answers = await Promise.all(calls);
    const tookMs = Math.round(performance.now() - beganMs);
    expect(answers.map(mark)).toEqual(names.map((_, index) => index + 1));
    expect(tookMs).toBeLessThan(DEADLINE_MS);
    const slowestMs = Math.round(Math.max(...answers.map((answer) => answer.tookMs)));
    await annotate(`${SERVICES} services answered within ${tookMs} ms, the slowest in ${slowestMs} ms`);

    await on.until(
      'one standby is left, and nothing else',
      async () => {
        const pods = await on.pods();
        return pods.length === 1 && pods.every(isWaitingStandby);
      },
      DEADLINE_MS,
    );
  },
  4 * DEADLINE_MS,
);
