import { pino } from 'pino';
import { afterEach, beforeEach, expect, test } from 'vitest';
import { systemClock } from '../system-clock.ts';
import { createKubeClient, type KubeClient } from './api/kube-client.ts';
import { TestApiServer } from './api/testing/api-server.ts';
import { until } from './api/testing/until.ts';
import type { KubeObject } from './api/wire.ts';
import type { PodDisruptionBudget } from './core/kube-types.ts';
import { DisruptionBudgets } from './disruption-budgets.ts';

const OCR = { namespace: 'team', name: 'ocr', uid: 'uid-ocr' };
const PATH = '/apis/policy/v1/namespaces/team/poddisruptionbudgets/ocr';

let server: TestApiServer;
let client: KubeClient;
let services: Map<string, KubeObject>;
let budgets: DisruptionBudgets;

const budget = (): PodDisruptionBudget | undefined => server.objects.get('team/ocr');
const minAvailable = (): unknown => budget()?.spec?.minAvailable;
const writes = (): number => server.requests.filter(({ method }) => method !== 'GET').length;

beforeEach(async () => {
  server = await TestApiServer.start();
  client = createKubeClient({ access: server.access, version: '0' });
  services = new Map([['team/ocr', { metadata: OCR }]]);
  budgets = new DisruptionBudgets({
    client,
    clock: systemClock,
    logger: pino({ level: 'silent' }),
    namespaces: [],
    services: () => services,
    onTrouble: () => undefined,
  });
  await budgets.start();
});

afterEach(async () => {
  await budgets.stop();
  await client.close();
  await server.close();
});

test('a budget comes with the second replica, follows the count, and goes with it', async () => {
  budgets.wanted(OCR, 1);
  budgets.wanted(OCR, 3);
  await until(() => minAvailable() === 2);
  budgets.wanted(OCR, 2);
  await until(() => minAvailable() === 1);
  // Counts that are over before they have settled cost no write.
  expect(writes()).toBe(2);
  budgets.wanted(OCR, 1);
  await until(() => budget() === undefined);
});

test('one that somebody edits or deletes is put right', async () => {
  budgets.wanted(OCR, 3);
  await until(() => minAvailable() === 2);
  await client.patch(PATH, 'merge', { spec: { minAvailable: 0, maxUnavailable: 3 } });
  await until(() => minAvailable() === 2 && budget()?.spec?.maxUnavailable === undefined);
  await client.delete(PATH);
  await until(() => minAvailable() === 2);
});
