import fc from 'fast-check';
import { expect, test } from 'vitest';
import { type RoutesMessage, type ServiceRoute, serviceRouteSchema } from '../../contracts/routes.ts';
import type { ReplicaPhase, ReplicaRecord } from './replica-record.ts';
import { applySpec, markReady } from './revisions.ts';
import { type RouteInput, RouteLog, serviceRoute } from './routes.ts';
import { serviceSettings } from './service-settings.ts';
import { afterFailedStart } from './start-trouble.ts';
import { resolvedService } from './testing/resolved-service.ts';

const resolved = resolvedService('ocr', { model: { args: ['--model_name=reader'] } });
const first = markReady(applySpec([], { specHash: 'a', resolved }, 1).revisions, 'ocr-00001', undefined);
const revisions = applySpec(first, { specHash: 'b', resolved }, 2).revisions;

function replica(
  id: string,
  revision: string,
  phase: ReplicaPhase,
  more: Partial<ReplicaRecord> = {},
): ReplicaRecord {
  return {
    id,
    host: id,
    origin: 'standby',
    phase,
    owner: { serviceUid: 'uid-ocr', revision },
    address: `${id}:80`,
    cachedModels: [],
    inFlight: 0,
    sinceMs: 0,
    ...more,
  };
}

function route(more: Partial<RouteInput> = {}): ServiceRoute {
  return serviceRoute({
    uid: 'uid-ocr',
    settings: serviceSettings(resolved),
    hosts: ['ocr.default'],
    revisions,
    carriers: [],
    directHosts: [],
    traffic: new Map([['ocr-00001', 100]]),
    records: [],
    containerConcurrency: 0,
    startingPhase: () => undefined,
    trouble: () => undefined,
    nowMs: 10_000,
    ...more,
  });
}

test('a route follows the contract, calls the model by its own name and names the hosts', () => {
  expect(serviceRouteSchema.safeParse(route()).success).toBe(true);
  expect(route()).toMatchObject({ models: ['reader'], hosts: ['ocr.default'], requestTimeoutMs: 300_000 });
});

test('only ready replicas are endpoints, and revisions with neither traffic nor replicas are left out', () => {
  const records = (['claiming', 'ready', 'leaving', 'draining', 'recycling'] as const).map((phase) =>
    replica(phase, 'ocr-00001', phase, { capacity: 2 }),
  );
  const { revisions: routed } = route({ records });
  expect(routed).toHaveLength(1);
  expect(routed[0]?.endpoints).toEqual([{ id: 'ready', address: 'ready:80', capacity: 2 }]);
});

test("a container's capacity is what the manifest says, or a default", () => {
  const records = [replica('x', 'ocr-00001', 'ready')];
  expect(route({ records }).revisions[0]?.endpoints[0]?.capacity).toBe(100);
  expect(route({ records, containerConcurrency: 7 }).revisions[0]?.endpoints[0]?.capacity).toBe(7);
});

test('callers get the load error while no replica is being tried and none may be yet', () => {
  const trouble = () => afterFailedStart(undefined, { code: 'model-not-found', message: 'gone' }, 9_000);
  expect(route({ trouble }).revisions[0]?.failure).toEqual({ code: 'model-not-found', message: 'gone' });
  const records = [replica('x', 'ocr-00001', 'claiming')];
  expect(route({ trouble, records }).revisions[0]?.failure).toBeUndefined();
  expect(route({ trouble, nowMs: 14_000 }).revisions[0]?.failure).toBeUndefined();
  const passing = () => afterFailedStart(undefined, { code: 'replica-failed', message: 'died' }, 9_000);
  expect(route({ trouble: passing }).revisions[0]?.failure).toBeUndefined();
});

/** What an activator makes of messages. */
function replay(
  messages: readonly RoutesMessage[],
  known = new Map<string, ServiceRoute>(),
): Map<string, ServiceRoute> {
  for (const message of messages) {
    if (message.type === 'snapshot') {
      known.clear();
      for (const service of message.services) known.set(service.uid, service);
    } else if (message.type === 'service') known.set(message.service.uid, message.service);
    else if (message.type === 'removed') known.delete(message.uid);
  }
  return known;
}

const step = fc.tuple(fc.nat(5), fc.option(fc.nat(3), { nil: undefined }));

test('property: a reader that stops anywhere and resumes knows the same as one that never stopped', () => {
  fc.assert(
    fc.property(
      fc.array(step, { maxLength: 50 }),
      fc.nat(50),
      fc.boolean(),
      (steps, stopAt, isSameStream) => {
        const log = new RouteLog('s');
        const known = replay(log.catchUp(undefined, undefined));
        let seen = 0;
        for (const [index, [uid, version]] of steps.entries()) {
          const changed =
            version === undefined
              ? log.remove(`u${uid}`)
              : log.set({ ...route(), uid: `u${uid}`, startTimeoutMs: version + 1 });
          if (changed !== undefined) expect(changed.number).toBe(log.number);
          if (index < stopAt && changed !== undefined) {
            replay([changed], known);
            seen = changed.number;
          }
        }
        const missed = log.catchUp(isSameStream ? 's' : 'other', seen);
        if (isSameStream) expect(missed.map(({ number }) => number)).toEqual(range(seen + 1, log.number));
        else expect(missed.map(({ type }) => type)).toEqual(['snapshot']);
        expect(replay(missed, known)).toEqual(replay(log.catchUp(undefined, undefined)));
      },
    ),
  );
});

test('what is the same is no change', () => {
  const log = new RouteLog('s');
  expect(log.set(route())?.number).toBe(1);
  expect(log.set(route())).toBeUndefined();
  expect(log.remove('nobody')).toBeUndefined();
  expect(log.number).toBe(1);
});

test('changes are kept in a bounded number; one who missed more gets all anew, and one from the future too', () => {
  const log = new RouteLog('s');
  for (let n = 0; n < 10_000; n++) log.set({ ...route(), startTimeoutMs: n + 1 });
  expect(log.catchUp('s', 9_999)).toHaveLength(1);
  expect(log.catchUp('s', 1)[0]?.type).toBe('snapshot');
  expect(log.catchUp('s', 10_001)[0]?.type).toBe('snapshot');
  expect(log.catchUp('s', 10_000)).toEqual([]);
});

function range(from: number, to: number): number[] {
  return Array.from({ length: Math.max(0, to - from + 1) }, (_, n) => from + n);
}

test('with tags every revision is in the routes, with hosts of its own', () => {
  const annotations = { 'serving.kserve.io/enable-tag-routing': 'true' };
  const settings = serviceSettings(resolvedService('ocr', { annotations }));
  const [tagged] = route({ settings, traffic: new Map() }).revisions;
  expect(tagged).toMatchObject({ weightPercent: 0, hosts: expect.arrayContaining(['r1-ocr.default']) });
  expect(serviceRouteSchema.safeParse(route({ settings })).success).toBe(true);
  expect(route({ traffic: new Map() }).revisions).toEqual([]);
});

test('carriers and the hosts of direct callers are told where there are any', () => {
  const carriers = [{ activator: 'a', parts: 16 }];
  expect(route({ carriers, directHosts: ['ocr.default'] })).toMatchObject({
    carriers,
    directHosts: ['ocr.default'],
  });
  expect(Object.keys(route())).not.toContain('carriers');
  expect(Object.keys(route())).not.toContain('directHosts');
});

test('a revision for which a replica or its standby waits for a node says so, the others don’t', () => {
  const waits = { waitsForNode: true };
  const own = replica('a', 'ocr-00001', 'starting', waits);
  const { owner, ...blank } = own;
  const reserved = { ...blank, reservedFor: { serviceUid: 'uid-ocr', revision: 'ocr-00001' } };
  const stranger = { ...blank, reservedFor: { serviceUid: 'uid-vad', revision: 'ocr-00001' } };
  const told = (records: ReplicaRecord[]) => route({ records }).revisions.map((one) => one.waitsForNode);
  expect(owner).toBeDefined();
  expect(told([own])).toEqual([true]);
  expect(told([reserved])).toEqual([true]);
  expect(told([stranger, replica('b', 'ocr-00001', 'starting')])).toEqual([undefined]);
});
