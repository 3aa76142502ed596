import type { KubeErrorCode } from './kube-error.ts';
import { type KubeObject, objectKey, type WatchEvent } from './wire.ts';

/**
 * The state machine of one list-and-watch, without time and I/O. The shell carries out `next` and feeds back
 * what came of it.
 *
 * ```
 * list ──listed──► watch ──ended (after it worked)──────────► watch
 *   ▲  ◄─failed──┐   │  ──failed, the server can't answer───► watch again after a back-off
 *   └────────────┴───┴── failed, the server refuses (410 …) ► list again
 * ```
 *
 * A relist tells what happened meanwhile as a difference: deletions first, then changes. An object is known by
 * its uid: another one under the same name is a deletion and a new object.
 */
export interface ReflectorState<Type extends KubeObject> {
  readonly next: 'list' | 'watch';
  /** Where the next watch goes on from; undefined before the first list. */
  readonly resourceVersion: string | undefined;
  /** Failures in a row, for the back-off. */
  readonly failures: number;
  /** Whether there has been a list. */
  readonly listed: boolean;
  readonly objects: Map<string, Type>;
}

/** What is to be told, in order. */
export type Notice<Type> =
  | { readonly type: 'change'; readonly object: Type; readonly previous: Type | undefined }
  | { readonly type: 'delete'; readonly object: Type };

export interface Step<Type extends KubeObject> {
  readonly state: ReflectorState<Type>;
  readonly notices: readonly Notice<Type>[];
}

export function initialState<Type extends KubeObject>(): ReflectorState<Type> {
  return { next: 'list', resourceVersion: undefined, failures: 0, listed: false, objects: new Map() };
}

/** A list came in: the store becomes what the list says. `objects` is changed in place. */
export function afterList<Type extends KubeObject>(
  state: ReflectorState<Type>,
  list: { readonly items: readonly Type[]; readonly resourceVersion: string },
): Step<Type> {
  const listed = new Map(list.items.map((item) => [objectKey(item), item]));
  const deletions = [...state.objects].flatMap(([key, object]) =>
    listed.has(key) ? [] : remove(state.objects, key, object),
  );
  const changes = [...listed].flatMap(([key, object]) => put(state.objects, key, object));
  const { resourceVersion } = list;
  return {
    // Failures stay counted until a watch has worked, or a server that lists but refuses watches is hammered.
    state: { ...state, next: 'watch', resourceVersion, listed: true },
    notices: [...deletions, ...changes],
  };
}

/** A watch told something. `objects` is changed in place. */
export function afterEvent<Type extends KubeObject>(
  state: ReflectorState<Type>,
  { type, object }: WatchEvent<Type>,
): Step<Type> {
  const resourceVersion = object.metadata?.resourceVersion ?? state.resourceVersion;
  return {
    state: { ...state, resourceVersion, failures: 0 },
    notices: noticesOf(state.objects, type, object),
  };
}

/** The server ended the watch; one that ended at once and told nothing counts as failed. */
export function afterEnd<Type extends KubeObject>(
  state: ReflectorState<Type>,
  worked: boolean,
): ReflectorState<Type> {
  return { ...state, failures: worked ? 0 : state.failures + 1 };
}

/** A list or a watch failed. */
export function afterFailure<Type extends KubeObject>(
  state: ReflectorState<Type>,
  code: KubeErrorCode,
): ReflectorState<Type> {
  const next = state.next === 'watch' && RESUMABLE.has(code) ? 'watch' : 'list';
  return { ...state, next, failures: state.failures + 1 };
}

/**
 * Failures of a watch that say nothing about its resourceVersion. All others mean a list: `gone` of course; a
 * `timeout` as well, since a version from before a restore of etcd is answered by 504, and for ever.
 */
const RESUMABLE: ReadonlySet<KubeErrorCode> = new Set([
  'unavailable',
  'too-many-requests',
  'internal',
  'unauthorised',
]);

function noticesOf<Type extends KubeObject>(
  objects: Map<string, Type>,
  type: WatchEvent<Type>['type'],
  object: Type,
): Notice<Type>[] {
  const key = objectKey(object);
  switch (type) {
    case 'ADDED':
    case 'MODIFIED':
      return put(objects, key, object);
    case 'DELETED':
      return objects.has(key) ? remove(objects, key, object) : [];
    case 'BOOKMARK':
      return [];
  }
}

function put<Type extends KubeObject>(objects: Map<string, Type>, key: string, object: Type): Notice<Type>[] {
  const previous = objects.get(key);
  if (previous !== undefined && previous.metadata?.uid !== object.metadata?.uid) {
    const gone = remove(objects, key, previous);
    objects.set(key, object);
    return [...gone, { type: 'change', object, previous: undefined }];
  }
  if (previous !== undefined && previous.metadata?.resourceVersion === object.metadata?.resourceVersion) {
    return [];
  }
  objects.set(key, object);
  return [{ type: 'change', object, previous }];
}

function remove<Type extends KubeObject>(
  objects: Map<string, Type>,
  key: string,
  object: Type,
): Notice<Type>[] {
  objects.delete(key);
  return [{ type: 'delete', object }];
}
