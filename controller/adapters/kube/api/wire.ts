/**
 * Objects as the API server writes them in JSON. The types of the client library describe them after its own
 * conversion (Date objects, `_continue` for `continue`), which we do without: {@link Wire} turns such a type
 * back into what is on the wire, and makes it readonly all the way down, as stored objects are frozen.
 *
 * @example
 * import type { V1Pod } from '@kubernetes/client-node';
 * type Pod = Wire<V1Pod>; // pod.metadata?.creationTimestamp is a string
 */
export type Wire<Type> = Type extends Date
  ? string
  : Type extends (infer Item)[]
    ? readonly Wire<Item>[]
    : Type extends object
      ? { readonly [Key in keyof Type as Key extends `_${infer Name}` ? Name : Key]: Wire<Type[Key]> }
      : Type;

export interface OwnerReference {
  readonly apiVersion: string;
  readonly kind: string;
  readonly name: string;
  readonly uid: string;
  readonly controller?: boolean;
  readonly blockOwnerDeletion?: boolean;
}

/** Metadata as far as this layer and its callers need it; every object of Kubernetes has it. */
export interface ObjectMeta {
  readonly name?: string;
  readonly generateName?: string;
  readonly namespace?: string;
  readonly uid?: string;
  readonly resourceVersion?: string;
  readonly generation?: number;
  /** RFC 3339 with seconds. */
  readonly creationTimestamp?: string;
  readonly deletionTimestamp?: string;
  readonly deletionGracePeriodSeconds?: number;
  readonly labels?: Readonly<Record<string, string>>;
  readonly annotations?: Readonly<Record<string, string>>;
  readonly ownerReferences?: readonly OwnerReference[];
  readonly finalizers?: readonly string[];
}

/** The least that is true of every object; `Wire<V1Pod>` and our own kinds are all assignable to it. */
export interface KubeObject {
  readonly apiVersion?: string;
  readonly kind?: string;
  readonly metadata?: ObjectMeta;
}

/** A change as a watch tells it. `BOOKMARK` has nothing but a `metadata.resourceVersion`. */
export interface WatchEvent<Type extends KubeObject> {
  readonly type: 'ADDED' | 'MODIFIED' | 'DELETED' | 'BOOKMARK';
  readonly object: Type;
}

/** `namespace/name`, or `name` alone for objects of the cluster. */
export function objectKey(object: KubeObject): string {
  const { namespace, name = '' } = object.metadata ?? {};
  return namespace === undefined || namespace === '' ? name : `${namespace}/${name}`;
}
