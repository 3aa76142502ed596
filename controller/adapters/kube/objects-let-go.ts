import type { KubeObject } from './api/wire.ts';

/**
 * Objects that count as deleted before they are: those of a namespace that is being deleted, which nobody can take
 * back. Kubernetes ends all pods first and leaves everything else as it is until the last one is gone, which may take
 * minutes. By uid, so that what comes later under the same names is not among them.
 */
export class ObjectsLetGo {
  readonly #uids = new Set<string>();

  /** @returns those of the namespace that had not been let go before. */
  letGo<Type extends KubeObject>(objects: Iterable<Type>, namespace: string): Type[] {
    const left = [...objects].filter(
      (object) => object.metadata?.namespace === namespace && !this.has(object),
    );
    for (const { metadata } of left) this.#uids.add(metadata?.uid ?? '');
    return left;
  }

  has({ metadata }: KubeObject): boolean {
    return this.#uids.has(metadata?.uid ?? '');
  }

  /** It is deleted now. */
  forget({ metadata }: KubeObject): void {
    this.#uids.delete(metadata?.uid ?? '');
  }
}
