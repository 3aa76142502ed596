import type { Clock } from '../../../ports.ts';
import type { KubeClient } from './kube-client.ts';
import type { KubeError } from './kube-error.ts';
import type { ResourceKind } from './paths.ts';
import type { KubeObject } from './wire.ts';

export interface ReflectorOptions<Type extends KubeObject> {
  readonly client: Pick<KubeClient, 'list' | 'watchStream'>;
  readonly clock: Clock;
  readonly resource: ResourceKind;
  /** One watch each; none or empty: one watch of all namespaces. */
  readonly namespaces?: readonly string[];
  readonly labelSelector?: string;
  readonly fieldSelector?: string;
  /** A new object (`previous` undefined) or another version of a known one. Must not throw. */
  readonly onChange: (object: Type, previous: Type | undefined) => void;
  /** The object as it was last seen. One that was replaced under its name is told as deleted, then as new. */
  readonly onDelete: (object: Type) => void;
  /** Once, when every namespace has been listed and all that exists has been told. */
  readonly onSynced?: () => void;
  /** For logs and metrics; the reflector goes on by itself. */
  readonly onTrouble?: (error: KubeError) => void;
  /** Nothing heard for so long, bookmarks included (about one a minute): connect again. */
  readonly inactivityMs?: number;
  /** From 0 up to 1; spreads retries and the ends of watches. */
  readonly random?: () => number;
}

/** A local copy of a kind's objects, kept current by list and watch. */
export interface Reflector<Type extends KubeObject> {
  /** By `namespace/name`; objects are frozen all the way down. */
  readonly store: ReadonlyMap<string, Type>;
  readonly synced: boolean;
  start(): void;
  /** Ends every watch at once; no callback comes after it. */
  stop(): void;
}

export declare function createReflector<Type extends KubeObject>(
  options: ReflectorOptions<Type>,
): Reflector<Type>;
