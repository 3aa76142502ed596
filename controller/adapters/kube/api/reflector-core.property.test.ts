import fc from 'fast-check';
import { expect, test } from 'vitest';
import type { KubeErrorCode } from './kube-error.ts';
import {
  afterEnd,
  afterEvent,
  afterFailure,
  afterList,
  initialState,
  type Notice,
  type ReflectorState,
  type Step,
} from './reflector-core.ts';
import type { KubeObject, WatchEvent } from './wire.ts';

/** A server with a history, and a reflector that may be interrupted at any point. */
class World {
  readonly objects = new Map<string, KubeObject>();
  history: { version: number; event: WatchEvent<KubeObject> }[] = [];
  version = 0;
  compactedAt = 0;
  compactions = 0;
  state: ReflectorState<KubeObject> = initialState();
  readonly told: Notice<KubeObject>[] = [];
  lists = 0;

  put(name: string): void {
    const known = this.objects.get(name);
    const uid = known?.metadata?.uid ?? `uid-${this.version + 1}`;
    this.#tell(known === undefined ? 'ADDED' : 'MODIFIED', name, uid);
  }

  remove(name: string): void {
    const uid = this.objects.get(name)?.metadata?.uid;
    if (uid !== undefined) this.#tell('DELETED', name, uid);
  }

  #tell(type: 'ADDED' | 'MODIFIED' | 'DELETED', name: string, uid: string): void {
    this.version += 1;
    const object = { metadata: { namespace: 'n', name, uid, resourceVersion: String(this.version) } };
    if (type === 'DELETED') this.objects.delete(name);
    else this.objects.set(name, object);
    this.history.push({ version: this.version, event: { type, object } });
  }

  compact(): void {
    this.compactedAt = this.version;
    this.history = [];
    this.compactions += 1;
  }

  /** One list, or one watch that tells up to `events` changes and then ends as `ending` says. */
  run(events: number, ending: 'end' | 'bookmark' | KubeErrorCode): void {
    if (this.state.next === 'list') {
      if (ending !== 'end' && ending !== 'bookmark') {
        this.state = afterFailure(this.state, ending);
        return;
      }
      this.lists += 1;
      const items = [...this.objects.values()];
      this.#take(afterList(this.state, { items, resourceVersion: String(this.version) }));
      return;
    }
    const from = Number(this.state.resourceVersion);
    if (from < this.compactedAt) {
      this.state = afterFailure(this.state, 'gone');
      return;
    }
    const news = this.history.filter(({ version }) => version > from).slice(0, events);
    for (const { event } of news) this.#take(afterEvent(this.state, event));
    if (ending === 'bookmark' && Number(this.state.resourceVersion) === (this.history.at(-1)?.version ?? 0)) {
      const object = { metadata: { resourceVersion: String(this.version) } };
      this.#take(afterEvent(this.state, { type: 'BOOKMARK', object }));
    }
    this.state =
      ending === 'end' || ending === 'bookmark'
        ? afterEnd(this.state, news.length > 0)
        : afterFailure(this.state, ending);
  }

  settle(): void {
    for (let round = 0; round < 4; round += 1) this.run(Number.MAX_SAFE_INTEGER, 'end');
  }

  #take({ state, notices }: Step<KubeObject>): void {
    this.state = state;
    this.told.push(...notices);
  }
}

const name = fc.constantFrom('a', 'b', 'c', 'd');
const ending = fc.constantFrom<'end' | 'bookmark' | KubeErrorCode>(
  'end',
  'bookmark',
  'unavailable',
  'timeout',
  'gone',
  'internal',
  'malformed',
);
const put = fc.record({ type: fc.constant('put' as const), name });
const remove = fc.record({ type: fc.constant('remove' as const), name });
const run = fc.record({ type: fc.constant('run' as const), events: fc.nat(4), ending });
const compact = fc.record({ type: fc.constant('compact' as const) });
test('whatever interrupts it, the store ends as the server is, and what was told adds up to it', () => {
  fc.assert(
    fc.property(fc.array(fc.oneof(put, remove, run, run, compact), { maxLength: 60 }), (acts) => {
      const world = new World();
      for (const act of acts) {
        if (act.type === 'put') world.put(act.name);
        else if (act.type === 'remove') world.remove(act.name);
        else if (act.type === 'compact') world.compact();
        else world.run(act.events, act.ending);
      }
      world.settle();
      const expected = new Map([...world.objects].map(([key, object]) => [`n/${key}`, object]));
      expect(new Map(world.state.objects)).toEqual(expected);
      expect(replayed(world.told)).toEqual(expected);
    }),
    { numRuns: 2_000 },
  );
});

test('without a loss of history each change is told just once, in the order of the server', () => {
  const resumable = fc.record({
    type: fc.constant('run' as const),
    events: fc.nat(4),
    ending: fc.constantFrom<'end' | 'bookmark' | KubeErrorCode>('end', 'bookmark', 'unavailable', 'internal'),
  });
  fc.assert(
    fc.property(fc.array(fc.oneof(put, remove, resumable), { maxLength: 60 }), (acts) => {
      const world = new World();
      world.run(0, 'end');
      for (const act of acts) {
        if (act.type === 'put') world.put(act.name);
        else if (act.type === 'remove') world.remove(act.name);
        else world.run(act.events, act.ending);
      }
      world.settle();
      expect(world.lists).toBe(1);
      expect(world.told.map(({ object }) => object)).toEqual(world.history.map(({ event }) => event.object));
    }),
    { numRuns: 2_000 },
  );
});

/**
 * What a listener would hold, holding the notices to their rules: `previous` is what it was told before, the
 * same version never comes twice, one uid never turns into another.
 */
function replayed(told: readonly Notice<KubeObject>[]): Map<string, KubeObject> {
  const held = new Map<string, KubeObject>();
  for (const notice of told) {
    const key = `n/${notice.object.metadata?.name}`;
    const before = held.get(key);
    if (notice.type === 'delete') {
      expect(before?.metadata?.uid).toBe(notice.object.metadata?.uid);
      held.delete(key);
      continue;
    }
    expect(notice.previous).toBe(before);
    if (before !== undefined) {
      expect(notice.object.metadata?.uid).toBe(before.metadata?.uid);
      expect(Number(notice.object.metadata?.resourceVersion)).toBeGreaterThan(
        Number(before.metadata?.resourceVersion),
      );
    }
    held.set(key, notice.object);
  }
  return held;
}
