import fc from 'fast-check';
import { expect, test } from 'vitest';
import { planPool, shouldRecycle } from './pool.ts';
import { holdsSlot, isOwnedBy, type ReplicaPhase, type ReplicaRecord } from './replica-record.ts';
import { planService, type Quarantine, type RevisionNeed, type ServiceAction } from './replicas.ts';

const NOW_MS = 100_000;

function replica(id: string, phase: ReplicaPhase, more: Partial<ReplicaRecord> = {}): ReplicaRecord {
  return {
    id,
    host: id,
    origin: 'standby',
    phase,
    cachedModels: [],
    inFlight: 0,
    sinceMs: 0,
    pool: 'p',
    ...more,
  };
}

function owned(id: string, phase: ReplicaPhase, more: Partial<ReplicaRecord> = {}): ReplicaRecord {
  return replica(id, phase, { owner: { serviceUid: 'a', revision: 'r1' }, claimId: `claim-${id}`, ...more });
}

function need(wanted: number, more: Partial<RevisionNeed> = {}): RevisionNeed {
  return {
    revision: 'r1',
    wanted,
    mayStart: true,
    pools: ['p'],
    origin: 'runtime',
    modelUri: 'file:/m',
    ...more,
  };
}

function plan(
  needs: readonly RevisionNeed[],
  records: readonly ReplicaRecord[],
  more: {
    quarantine?: Record<string, Quarantine>;
    creating?: Record<string, number>;
    maxStartsAtOnce?: number;
  } = {},
): ServiceAction[] {
  return planService({
    serviceUid: 'a',
    needs,
    records,
    quarantine: new Map(Object.entries(more.quarantine ?? {})),
    creating: new Map(Object.entries(more.creating ?? {})),
    maxStartsAtOnce: more.maxStartsAtOnce ?? 8,
    nowMs: NOW_MS,
  });
}

test('a standby that has the model is claimed before a blank one', () => {
  const records = [replica('blank', 'standby'), replica('cached', 'standby', { cachedModels: ['file:/m'] })];
  expect(plan([need(1)], records)).toEqual([{ do: 'claim', id: 'cached', revision: 'r1' }]);
});

test('among equals the one that only this service may claim goes first, and spares the others', () => {
  const records = [replica('open', 'standby'), replica('held', 'standby')];
  const quarantine = { held: { serviceUid: 'a', untilMs: NOW_MS + 1 } };
  expect(plan([need(1)], records, { quarantine })).toEqual([{ do: 'claim', id: 'held', revision: 'r1' }]);
});

test('a standby in quarantine is not claimed by another service until its time is over', () => {
  const records = [replica('held', 'standby')];
  const until = (untilMs: number) => ({ quarantine: { held: { serviceUid: 'b', untilMs } } });
  expect(plan([need(1)], records, until(NOW_MS + 1))).toEqual([
    { do: 'create-standby', revision: 'r1', pool: 'p' },
  ]);
  expect(plan([need(1)], records, until(NOW_MS))).toEqual([{ do: 'claim', id: 'held', revision: 'r1' }]);
});

test('what no standby can take starts a replica of its own', () => {
  expect(plan([need(1, { pools: [], origin: 'container' })], [replica('s', 'standby')])).toEqual([
    { do: 'create-replica', revision: 'r1', origin: 'container' },
  ]);
});

test('what is on its way out holds no slot, what is starting does', () => {
  const records = [owned('leaving', 'leaving'), owned('draining', 'draining'), owned('claiming', 'claiming')];
  expect(plan([need(2)], records)).toEqual([{ do: 'create-standby', revision: 'r1', pool: 'p' }]);
});

test('while a failure is backed off from nothing is begun, and what there is stays', () => {
  const records = [owned('ready', 'ready'), replica('s', 'standby')];
  expect(plan([need(3, { mayStart: false })], records)).toEqual([]);
});

test('what was asked for and is not seen yet counts', () => {
  expect(plan([need(2)], [], { creating: { r1: 2 } })).toEqual([]);
});

test('a standby that comes free serves the revision before the process that was started for it', () => {
  const reservedFor = { serviceUid: 'a', revision: 'r1' };
  const records = [replica('coming', 'starting', { reservedFor }), replica('free', 'standby')];
  expect(plan([need(1)], records)).toEqual([
    { do: 'claim', id: 'free', revision: 'r1' },
    { do: 'release', id: 'coming' },
  ]);
});

test('a standby that was started for another service is not taken', () => {
  const records = [replica('theirs', 'standby', { reservedFor: { serviceUid: 'b', revision: 'r9' } })];
  expect(plan([need(1)], records)).toEqual([{ do: 'create-standby', revision: 'r1', pool: 'p' }]);
});

test('starts are bounded, claims are not', () => {
  const standbys = ['s1', 's2', 's3'].map((id) => replica(id, 'standby'));
  const actions = plan([need(10)], standbys, { maxStartsAtOnce: 2 });
  expect(actions.map((action) => action.do)).toEqual([
    'claim',
    'claim',
    'claim',
    'create-standby',
    'create-standby',
  ]);
});

test('victims are those that do not serve yet, then the least loaded, then the youngest', () => {
  const records = [
    owned('busy', 'ready', { inFlight: 3, sinceMs: 9 }),
    owned('old', 'ready', { inFlight: 1, sinceMs: 1 }),
    owned('young', 'ready', { inFlight: 1, sinceMs: 5 }),
    owned('loading', 'claiming', { sinceMs: 2 }),
  ];
  const victims = (wanted: number) =>
    plan([need(wanted)], records).map((action) => 'id' in action && action.id);
  expect(victims(3)).toEqual(['loading']);
  expect(victims(2)).toEqual(['loading', 'young']);
  expect(victims(1)).toEqual(['loading', 'young', 'old']);
});

test('replicas of a revision that the service no longer knows leave', () => {
  const stray = owned('stray', 'ready', { owner: { serviceUid: 'a', revision: 'gone' } });
  expect(plan([need(0)], [stray])).toEqual([{ do: 'leave', id: 'stray', why: 'not-needed' }]);
  expect(plan([], [stray])).toEqual([{ do: 'leave', id: 'stray', why: 'not-needed' }]);
});

test('a replica of its own that is up is given its model', () => {
  const own = owned('own', 'standby', { origin: 'runtime' });
  expect(plan([need(1, { pools: [] })], [own])).toEqual([{ do: 'claim', id: 'own', revision: 'r1' }]);
});

const phases = [
  'starting',
  'standby',
  'claiming',
  'ready',
  'leaving',
  'draining',
  'recycling',
  'removing',
] as const;

const someRecords = fc
  .array(
    fc.record({
      phase: fc.constantFrom(...phases),
      owner: fc.constantFrom(undefined, ['a', 'r1'], ['a', 'r2'], ['a', 'gone'], ['b', 'r1']),
      reserved: fc.constantFrom(undefined, undefined, ['a', 'r1'], ['b', 'r1']),
      cached: fc.boolean(),
      inFlight: fc.nat(5),
    }),
    { maxLength: 20 },
  )
  .map((shapes) =>
    shapes.map(({ phase, owner, reserved, cached, inFlight }, index): ReplicaRecord => {
      const isFree = phase === 'standby' || phase === 'starting';
      const has = isFree ? undefined : owner;
      return replica(`x${index}`, has === undefined && phase !== 'starting' ? 'standby' : phase, {
        cachedModels: cached ? ['file:/m'] : [],
        inFlight,
        ...(has && { owner: { serviceUid: has[0] ?? '', revision: has[1] ?? '' }, claimId: `c${index}` }),
        ...(isFree &&
          reserved && { reservedFor: { serviceUid: reserved[0] ?? '', revision: reserved[1] ?? '' } }),
      });
    }),
  );

const someQuarantine = fc.dictionary(
  fc.nat(19).map((n) => `x${n}`),
  fc.record({ serviceUid: fc.constantFrom('a', 'b'), untilMs: fc.constantFrom(NOW_MS - 1, NOW_MS + 1) }),
);

const someNeeds = fc
  .tuple(fc.nat(8), fc.nat(8), fc.boolean(), fc.boolean())
  .map(([r1, r2, mayStart, fits]) => [
    need(r1, { mayStart }),
    need(r2, { revision: 'r2', pools: fits ? ['q', 'p'] : [] }),
  ]);

test('property: no replica is in two actions, none of another service in any, and no plan wants too many', () => {
  fc.assert(
    fc.property(
      someNeeds,
      someRecords,
      someQuarantine,
      fc.integer({ min: 1, max: 8 }),
      (needs, records, quarantine, max) => {
        const actions = plan(needs, records, { quarantine, maxStartsAtOnce: max });
        const ids = actions.flatMap((action) => ('id' in action ? [action.id] : []));
        expect(new Set(ids).size).toBe(ids.length);
        const starts = actions.filter((action) => action.do.startsWith('create'));
        expect(starts.length).toBeLessThanOrEqual(max * needs.length);
        for (const action of actions) {
          if (!('id' in action)) continue;
          const record = records.find(({ id }) => id === action.id);
          expect(record?.owner?.serviceUid ?? 'a').toBe('a');
          expect(record?.reservedFor?.serviceUid ?? 'a').toBe('a');
          if (action.do !== 'claim') continue;
          expect(record?.phase).toBe('standby');
          const wanting = needs.find(({ revision }) => revision === action.revision);
          expect(record?.owner !== undefined || wanting?.pools.includes(record?.pool ?? '')).toBe(true);
          const held = quarantine[record?.host ?? ''];
          expect(held === undefined || held.serviceUid === 'a' || held.untilMs <= NOW_MS).toBe(true);
        }
        for (const { revision, wanted } of needs) {
          const own = records.filter(
            (record) => isOwnedBy(record, 'a', revision) && holdsSlot(record),
          ).length;
          const claimed = actions.filter(
            (action) => action.do === 'claim' && action.revision === revision,
          ).length;
          const left = actions.filter(
            (action) =>
              action.do === 'leave' &&
              records.some((one) => one.id === action.id && isOwnedBy(one, 'a', revision)),
          ).length;
          expect(own + claimed - left).toBeLessThanOrEqual(wanted);
          if (own > wanted) expect(own - left).toBe(wanted);
        }
      },
    ),
  );
});

const POOL = {
  pool: 'p',
  standbys: 2,
  quarantine: new Map(),
  creating: 0,
  mayStart: true,
  refillDelayMs: 5_000,
  refillQuietMs: 100,
  nowMs: NOW_MS,
};

test('the pool is filled up, less what is on its way', () => {
  expect(planPool({ ...POOL, records: [] })).toHaveLength(2);
  expect(planPool({ ...POOL, records: [replica('s', 'starting')], creating: 1 })).toEqual([]);
  expect(planPool({ ...POOL, records: [replica('r', 'recycling'), replica('s', 'standby')] })).toEqual([]);
  expect(planPool({ ...POOL, records: [], mayStart: false })).toEqual([]);
});

test('a claim under way and a first answer put the refill off, for a bounded time', () => {
  // As the engine gives them: to be gone through once.
  const at = (record: ReplicaRecord) => planPool({ ...POOL, records: [record].values() }).length;
  expect(at(owned('c', 'claiming', { sinceMs: NOW_MS - 4_999 }))).toBe(0);
  expect(at(owned('c', 'claiming', { sinceMs: NOW_MS - 5_000 }))).toBe(2);
  expect(at(owned('c', 'ready', { sinceMs: NOW_MS - 99 }))).toBe(0);
  expect(at(owned('c', 'ready', { sinceMs: NOW_MS - 100 }))).toBe(2);
});

test('pools know only their own', () => {
  const others = [replica('q1', 'standby', { pool: 'q' }), replica('q2', 'standby', { pool: 'q' })];
  expect(planPool({ ...POOL, records: others })).toHaveLength(2);
  expect(plan([need(1)], others)).toEqual([{ do: 'create-standby', revision: 'r1', pool: 'p' }]);
  expect(plan([need(1, { pools: ['p', 'q'] })], others)).toEqual([{ do: 'claim', id: 'q1', revision: 'r1' }]);
});

test('of two pools that fit the better one is taken, unless the other has the model', () => {
  const better = replica('better', 'standby');
  const other = replica('other', 'standby', { pool: 'q' });
  const claimed = (records: ReplicaRecord[]) => plan([need(1, { pools: ['p', 'q'] })], records);
  expect(claimed([other, better])).toEqual([{ do: 'claim', id: 'better', revision: 'r1' }]);
  expect(claimed([{ ...other, cachedModels: ['file:/m'] }, better])).toEqual([
    { do: 'claim', id: 'other', revision: 'r1' },
  ]);
});

test('standbys of old settings go when those of the new ones are up, and serve until then', () => {
  const old = [
    replica('old1', 'standby', { isOutdated: true }),
    replica('old2', 'standby', { isOutdated: true }),
  ];
  expect(planPool({ ...POOL, records: old })).toEqual([{ do: 'create-standby' }, { do: 'create-standby' }]);
  const coming = [replica('new1', 'starting'), replica('new2', 'starting')];
  expect(planPool({ ...POOL, records: [...old, ...coming] })).toEqual([]);
  expect(plan([need(1)], [...old, ...coming])).toMatchObject([{ do: 'claim' }]);
  const up = [replica('new1', 'standby'), replica('new2', 'standby')];
  expect(planPool({ ...POOL, records: [...old, ...up] })).toMatchObject([
    { do: 'remove', id: 'old1' },
    { do: 'remove', id: 'old2' },
  ]);
});

test('of a surplus the blank ones go first, and those in quarantine do not count', () => {
  const records = [
    replica('cached', 'standby', { cachedModels: ['file:/m'] }),
    replica('blank', 'standby'),
    replica('blank2', 'standby'),
    replica('held', 'standby'),
  ];
  const quarantine = new Map([['held', { serviceUid: 'a', untilMs: NOW_MS + 1 }]]);
  expect(planPool({ ...POOL, records, quarantine })).toEqual([{ do: 'remove', id: 'blank' }]);
});

test('one that comes back with a model is kept, and the blank ones that are starting make room for it', () => {
  const back = replica('back', 'standby', { cachedModels: ['file:/m'] });
  const coming = [replica('new1', 'starting'), replica('new2', 'starting', { sinceMs: 1 })];
  expect(planPool({ ...POOL, records: [back, ...coming] })).toEqual([{ do: 'remove', id: 'new2' }]);
});

test('as many go back to the pool as it is large, whoever they served', () => {
  const held = (id: string) => [id, { serviceUid: 'a', untilMs: NOW_MS + 1 }] as const;
  const decide = (records: ReplicaRecord[]) =>
    shouldRecycle(owned('leaving', 'draining'), {
      standbys: 2,
      records,
      quarantine: new Map([held('h1'), held('h2')]),
      nowMs: NOW_MS,
    });
  expect(decide([replica('s', 'standby'), replica('h1', 'standby')])).toBe(true);
  expect(decide([replica('h1', 'standby'), replica('h2', 'standby')])).toBe(false);
  expect(decide([replica('h1', 'standby'), owned('r', 'recycling')])).toBe(false);
  const none = { standbys: 0, records: [], quarantine: new Map(), nowMs: NOW_MS };
  expect(shouldRecycle(owned('leaving', 'draining'), none)).toBe(false);
  const outdated = owned('leaving', 'draining', { isOutdated: true });
  expect(shouldRecycle(outdated, { ...none, standbys: 2 })).toBe(false);
});

test('property: carrying out the pool plan brings it to its size in one step, and the plan after it is empty', () => {
  fc.assert(
    fc.property(someRecords, someQuarantine, fc.nat(4), (records, quarantine, standbys) => {
      const input = {
        ...POOL,
        standbys,
        quarantine: new Map(Object.entries(quarantine)),
        refillDelayMs: 0,
        refillQuietMs: 0,
      };
      const actions = planPool({ ...input, records });
      const removed = new Set(actions.flatMap((action) => (action.do === 'remove' ? [action.id] : [])));
      const created = actions.filter((action) => action.do === 'create-standby').length;
      const after = [
        ...records.filter(({ id }) => !removed.has(id)),
        ...Array.from({ length: created }, (_, n) => replica(`new${n}`, 'standby')),
      ];
      expect(planPool({ ...input, records: after })).toEqual([]);
      for (const id of removed) expect(records.find((record) => record.id === id)?.owner).toBeUndefined();
    }),
  );
});
