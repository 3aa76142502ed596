import { expect, test } from 'vitest';
import { zeros } from '../../local/testing/marked-model.ts';
import { onPlatform } from './testing/platform.ts';
import { markedService } from './testing/services.ts';

const on = onPlatform('scale-down');
const TIMES = 10;

test('ten times from three replicas to one under load, and not one request fails', {
  timeout: 400_000,
}, async () => {
  const predictor = { minReplicas: 1, maxReplicas: 3, containerConcurrency: 4 };
  await on.apply(markedService('busy', 4, { predictor }));
  await on.waitForReady('busy');
  const load = await on.load({ targets: [on.inference('busy', zeros())], connections: 6, pauseMs: 2 });
  for (let time = 1; time <= TIMES; time += 1) {
    for (const replicas of [3, 1]) {
      const patch = { spec: { predictor: { minReplicas: replicas, maxReplicas: replicas } } };
      await on.kubectl('patch', 'isvc', 'busy', '--type', 'merge', '--patch', JSON.stringify(patch));
      await on.waitForService(
        'busy',
        `has ${replicas} replicas`,
        ({ status }) => status?.replicas?.ready === replicas,
      );
      const { answered } = await load.state();
      await on.until('requests are answered', async () => (await load.state()).answered > answered + 50);
    }
    expect((await load.state()).failures).toEqual([]);
  }
  const { answered, failures, bodies } = await load.end();
  expect(failures).toEqual([]);
  expect(answered).toBeGreaterThan(TIMES * 100);
  expect(Object.keys(bodies[0] ?? {})).toHaveLength(1);
});
