import type { InferenceService } from '../../../crds/schema.ts';
import type { StoredRevision } from '../../ports.ts';
import type { KubeClient } from './api/kube-client.ts';
import { objectPath, RESOURCES } from './api/paths.ts';
import type { ControllerRevision } from './core/kube-types.ts';
import { LABELS, MANAGED_BY } from './core/labels.ts';
import { revisionObject, revisionOnRecord } from './core/revision-object.ts';
import { readReferences } from './service-references.ts';

export interface RevisionOwner {
  readonly namespace: string;
  readonly name: string;
  readonly uid: string;
}

/** The revisions of services as Kubernetes keeps revisions: ControllerRevision objects, owned by their service. */
export class RevisionStore {
  readonly #client: KubeClient;
  /** What the API server holds, by the service's uid and the revision's name, as text to compare with. */
  readonly #written = new Map<string, Map<string, string>>();

  constructor(client: KubeClient) {
    this.#client = client;
  }

  async load(owner: RevisionOwner): Promise<StoredRevision[]> {
    const { items } = await this.#client.list<ControllerRevision>(
      objectPath({ ...RESOURCES.controllerRevisions, namespace: owner.namespace }),
      { labelSelector: `${LABELS.managedBy}=${MANAGED_BY},${LABELS.service}=${owner.name}` },
    );
    const written = new Map<string, string>();
    const revisions: StoredRevision[] = [];
    for (const object of items) {
      const record = revisionOnRecord(object);
      // One of an earlier service of this name is about to be collected.
      if (record?.uid !== owner.uid) continue;
      const { uid, generation, service, ...kept } = record;
      const storage = await this.#storageOf(service);
      // What comes from Secrets is read with the service itself, when it is told.
      const resolved = { uid, generation, service, env: {}, ...storage, warnings: [] };
      const revision = { ...kept, resolved };
      revisions.push(revision);
      written.set(revision.name, JSON.stringify(revisionObject(revision, object.data)));
    }
    this.#written.set(owner.uid, written);
    return revisions;
  }

  /** Writes those that have changed and deletes those that are not kept any more. */
  async save(owner: RevisionOwner, revisions: readonly StoredRevision[]): Promise<void> {
    const written = this.#written.get(owner.uid) ?? new Map<string, string>();
    this.#written.set(owner.uid, written);
    const path = { ...RESOURCES.controllerRevisions, namespace: owner.namespace };
    for (const revision of revisions) {
      const before = written.get(revision.name);
      // What the API server holds can't be changed; in its own words it is found equal.
      const data = before === undefined ? undefined : (JSON.parse(before) as ControllerRevision).data;
      const object = revisionObject(revision, data);
      const text = JSON.stringify(object);
      if (before === text) continue;
      await this.#client.patch(objectPath({ ...path, name: revision.name }), 'apply', object);
      written.set(revision.name, text);
    }
    const kept = new Set(revisions.map(({ name }) => name));
    for (const name of [...written.keys()].filter((one) => !kept.has(one))) {
      await this.#client.delete(objectPath({ ...path, name }));
      written.delete(name);
    }
  }

  forget(uid: string): void {
    this.#written.delete(uid);
  }

  /** Where the revision's model lies. A reference that is gone since leaves what the manifest itself says. */
  async #storageOf(service: InferenceService): Promise<{ modelUri?: string }> {
    const references = await readReferences(this.#client, service);
    const uri = references.ok ? references.value.storage?.uri : service.spec.predictor.model?.storageUri;
    return uri === undefined ? {} : { modelUri: uri };
  }
}
