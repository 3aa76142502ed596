import { once } from 'node:events';
import { createServer } from 'node:http';
import type { AddressInfo } from 'node:net';
import { text } from 'node:stream/consumers';
import { expect, test, vi } from 'vitest';
import { STATS_INTERVAL_MS, statsReportSchema } from '../../contracts/stats.ts';
import { createLogger } from '../../process/logger.ts';
import { pushStats } from './stats-push.ts';

test('the first report comes an interval after the model is ready, with what has been answered meanwhile', async () => {
  vi.useFakeTimers({ toFake: ['setInterval', 'clearInterval'] });
  const first = Promise.withResolvers<string>();
  const server = createServer((request, response) => {
    void text(request).then((body) => {
      first.resolve(body);
      response.end();
    });
  }).listen(0, '127.0.0.1');
  await once(server, 'listening');
  const nothing = { requestSeconds: 0, requests: 0, inFlight: 0 };
  let proxied = nothing;
  const target = {
    url: `http://127.0.0.1:${(server.address() as AddressInfo).port}/v1/stats`,
    token: 'token',
    claim: {
      claimId: 'c',
      epoch: 1,
      service: { namespace: 'default', name: 's' },
      serviceUid: 'u',
      revision: 'r',
    },
    claimedAtMs: performance.now(),
  };
  const stop = pushStats(target, {
    incarnation: 'one',
    load: { snapshot: () => ({ direct: nothing, proxied }), reset: () => undefined, idle: async () => true },
    capacity: () => 8,
    controlCa: undefined,
    logger: createLogger('runtime'),
  });
  try {
    proxied = { requestSeconds: 0.1, requests: 1, inFlight: 0 };
    vi.advanceTimersByTime(STATS_INTERVAL_MS);
    const report = statsReportSchema.parse(JSON.parse(await first.promise));
    expect(report).toMatchObject({ sequence: 0, proxied, capacity: 8 });
  } finally {
    await stop();
    vi.useRealTimers();
    server.close();
  }
});
