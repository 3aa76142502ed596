import type { Clock } from '../../../ports.ts';
import type { KubeClient } from './kube-client.ts';
import { ListWatch } from './list-watch.ts';
import type { ResourceKind } from './paths.ts';
import type { Notice } from './reflector-core.ts';
import { type KubeObject, objectKey } from './wire.ts';

export interface ReflectorOptions<Type extends KubeObject> {
  readonly client: Pick<KubeClient, 'list' | 'watchStream'>;
  readonly clock: Clock;
  readonly resource: ResourceKind;
  /** One watch each; none or empty: one watch of all namespaces. */
  readonly namespaces?: readonly string[];
  readonly labelSelector?: string;
  readonly fieldSelector?: string;
  /** A new object (`previous` undefined) or another version of a known one. */
  readonly onChange: (object: Type, previous: Type | undefined) => void;
  /** The object as it was last seen. One that was replaced under its name is told as deleted, then as new. */
  readonly onDelete: (object: Type) => void;
  /** Once, when every namespace has been listed and all that exists has been told. */
  readonly onSynced?: () => void;
  /** For logs and metrics (a KubeError, or what a callback threw); the reflector goes on by itself. */
  readonly onTrouble?: (error: unknown) => void;
  /** How long a watch lasts before the server ends it; up to twice that, at random. */
  readonly watchSeconds?: number;
  /** Nothing heard for so long, bookmarks included: connect again. */
  readonly inactivityMs?: number;
  readonly baseBackOffMs?: number;
  readonly maxBackOffMs?: number;
  /** From 0 up to 1; spreads retries and the ends of watches. */
  readonly random?: () => number;
}

/** A local copy of a kind's objects, kept current by list and watch. */
export interface Reflector<Type extends KubeObject> {
  /** By `namespace/name`: just what has been told so far. Objects are frozen all the way down. */
  readonly store: ReadonlyMap<string, Type>;
  readonly synced: boolean;
  start(): void;
  /** Ends every watch at once, for good; no callback comes after it. */
  stop(): void;
}

const REFLECTOR_DEFAULTS = {
  watchSeconds: 290,
  // The API server sends a bookmark about once a minute; one may be missed.
  inactivityMs: 150_000,
  baseBackOffMs: 200,
  maxBackOffMs: 30_000,
  random: Math.random,
} as const;

export function createReflector<Type extends KubeObject>(options: ReflectorOptions<Type>): Reflector<Type> {
  const { namespaces = [], onChange, onDelete, onSynced, onTrouble } = options;
  const store = new Map<string, Type>();
  let started = false;
  let stopped = false;
  let synced = false;

  /** What a callback throws must not end the watch: it is reported, and the next notice goes out. */
  const tell = (callback: () => void): void => {
    if (stopped) return;
    try {
      callback();
    } catch (error) {
      onTrouble?.(error);
    }
  };
  const notify = (notice: Notice<Type>): void =>
    tell(() => {
      const { type, object } = notice;
      if (type === 'delete') {
        store.delete(objectKey(object));
        onDelete(object);
      } else {
        store.set(objectKey(object), object);
        onChange(object, notice.previous);
      }
    });
  const listed = (): void => {
    if (synced || !watches.every((watch) => watch.listed)) return;
    synced = true;
    tell(() => onSynced?.());
  };
  const trouble = (error: unknown): void => tell(() => onTrouble?.(error));

  const scopes = namespaces.length === 0 ? [undefined] : [...new Set(namespaces)];
  const watches = scopes.map(
    (namespace) =>
      new ListWatch<Type>({ ...REFLECTOR_DEFAULTS, ...options, namespace }, { notify, listed, trouble }),
  );
  return {
    store,
    get synced() {
      return synced;
    },
    start() {
      if (started) return;
      started = true;
      for (const watch of watches) void watch.run();
    },
    stop() {
      stopped = true;
      for (const watch of watches) watch.stop();
    },
  };
}
