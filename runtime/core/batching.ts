import type { Tensor } from './tensor.ts';

/** How requests are put together. `maxBatchSize` of 1 is no batching. */
export interface BatchRule {
  /** Rows (sizes of dimension 0) that one run takes at most. A request that has more runs alone, as it is. */
  readonly maxBatchSize: number;
  /** How long an instance that has nothing to do may wait for a batch to fill; 0: not at all. */
  readonly maxLatencyMs: number;
}

export const NO_BATCHING: BatchRule = { maxBatchSize: 1, maxLatencyMs: 0 };

/** What decides with whom a call may run. */
export interface BatchTraits {
  /** Calls of one key fit together: the same shapes behind dimension 0, the same outputs. Undefined: it runs alone. */
  readonly key: string | undefined;
  readonly rows: number;
}

/** A call that waits, as far as the choice of the next batch is concerned. */
export interface Batchable extends BatchTraits {
  /** By the clock that `nowMs` is of. */
  readonly queuedAtMs: number;
}

export type BatchChoice<Call> =
  | { readonly kind: 'run'; readonly calls: readonly Call[] }
  /** Nothing is full yet, and nothing has waited for as long as it may. */
  | { readonly kind: 'wait'; readonly untilMs: number }
  | { readonly kind: 'nothing' };

const ALONE: BatchTraits = { key: undefined, rows: 1 };

/**
 * Whom a call may run with. Alone: without batching, and with inputs that have no rows or disagree about their number.
 *
 * Calls for different outputs don't mix: those that want one small output must not pay for a large one.
 */
export function batchTraits(
  inputs: readonly Tensor[],
  outputs: readonly string[] | undefined,
  { maxBatchSize }: BatchRule,
): BatchTraits {
  if (maxBatchSize <= 1) return ALONE;
  const rows = inputs[0]?.shape[0] ?? 0;
  if (rows === 0 || inputs.some(({ shape }) => shape[0] !== rows)) return { key: undefined, rows };
  const [only] = inputs;
  // One input, all outputs: the key of nearly every call, on the path of each.
  if (inputs.length === 1 && only !== undefined && outputs === undefined) {
    return { key: only.shape.slice(1).join(), rows };
  }
  const shapes = inputs.map(({ name, shape }) => [name, shape.slice(1)] as const);
  // Inputs come in the client's own order.
  shapes.sort(([left], [right]) => (left < right ? -1 : 1));
  return { key: JSON.stringify([shapes, outputs?.toSorted()]), rows };
}

/**
 * Triton's rule: what an instance that is free takes next.
 *
 * The call at the head of the queue is the first of the batch, and those behind it that fit with it follow in their
 * order while there is room; the first that would be too much ends it, so that no call is overtaken by one of its own
 * kind. Calls of other shapes keep their places: one of them is the head of the next batch.
 *
 * With a `maxLatencyMs` a batch waits until it is full or its oldest call has waited for so long; meanwhile a batch of
 * another shape that is ripe goes first.
 *
 * @param queue in order: highest priority first, then oldest.
 */
export function chooseBatch<Call extends Batchable>(
  queue: Iterable<Call>,
  { maxBatchSize, maxLatencyMs }: BatchRule,
  nowMs: number,
): BatchChoice<Call> {
  const groups = new Map<string, Group<Call>>();
  const ripeByMs = nowMs - maxLatencyMs;
  for (const call of queue) {
    if (call.key === undefined) {
      // Nobody comes to go with it, so it waits for nobody, but lets those go first that are ripe before it.
      if (groups.size === 0 || maxLatencyMs > 0) {
        return { kind: 'run', calls: firstRipe(groups, ripeByMs)?.calls ?? [call] };
      }
      continue;
    }
    let group = groups.get(call.key);
    if (group === undefined) {
      // Without a latency the head of the queue is ripe: no other shape's turn comes before it.
      if (groups.size > 0 && maxLatencyMs === 0) continue;
      group = { calls: [], rows: 0, oldestMs: call.queuedAtMs, isFull: false };
      groups.set(call.key, group);
    }
    if (group.isFull) continue;
    take(group, call, maxBatchSize);
    if (group.isFull) return { kind: 'run', calls: (firstRipe(groups, ripeByMs) ?? group).calls };
  }
  if (groups.size === 0) return { kind: 'nothing' };
  const ripe = firstRipe(groups, ripeByMs);
  if (ripe !== undefined) return { kind: 'run', calls: ripe.calls };
  const oldestMs = Math.min(...groups.values().map((group) => group.oldestMs));
  return { kind: 'wait', untilMs: oldestMs + maxLatencyMs };
}

interface Group<Call> {
  calls: Call[];
  rows: number;
  oldestMs: number;
  isFull: boolean;
}

function take<Call extends Batchable>(group: Group<Call>, call: Call, maxBatchSize: number): void {
  if (group.calls.length > 0 && group.rows + call.rows > maxBatchSize) {
    group.isFull = true;
    return;
  }
  group.calls.push(call);
  group.rows += call.rows;
  group.oldestMs = Math.min(group.oldestMs, call.queuedAtMs);
  group.isFull = group.rows >= maxBatchSize;
}

/** The first group, in the order of their heads, that is full or whose oldest call came by then. */
function firstRipe<Call>(groups: ReadonlyMap<string, Group<Call>>, byMs: number): Group<Call> | undefined {
  for (const group of groups.values()) if (group.isFull || group.oldestMs <= byMs) return group;
  return undefined;
}
