import { type ConfigObject, parseConfigObject } from '../../../crds/config-objects.ts';
import { type ReferenceResult, referenceObjects, resolveReferences } from '../../../crds/references.ts';
import type { InferenceService } from '../../../crds/schema.ts';
import { storeOf } from '../../../crds/storage-access.ts';
import { annotatedStorageSecret, storageSecretName } from '../../../crds/storage-secret.ts';
import type { KubeClient } from './api/kube-client.ts';
import { objectPath, RESOURCES, type ResourceKind } from './api/paths.ts';
import type { KubeObject } from './api/wire.ts';

/**
 * Reads the objects that a service refers to, of its own namespace and no other, and resolves them. They are
 * read when they are needed and never listed or watched, so that `get` is all the permission it takes.
 *
 * @throws KubeError when the API can't be asked, or forbids it.
 */
export async function readReferences(
  client: Pick<KubeClient, 'get'>,
  service: InferenceService,
): Promise<ReferenceResult> {
  const { namespace } = service.metadata;
  const wanted = wantedNames(service);
  const [accounts, secrets, configMaps] = await Promise.all([
    readAll(client, 'ServiceAccount', RESOURCES.serviceAccounts, namespace, wanted.serviceAccounts),
    readAll(client, 'Secret', RESOURCES.secrets, namespace, wanted.secrets),
    readAll(client, 'ConfigMap', RESOURCES.configMaps, namespace, wanted.configMaps),
  ]);
  const listed = accounts.flatMap((account) => (account.kind === 'ServiceAccount' ? account.secrets : []));
  const more = new Set(listed.map(({ name }) => name).filter((name) => !wanted.secrets.has(name)));
  const ofAccounts = await readAll(client, 'Secret', RESOURCES.secrets, namespace, more);
  const objects = [...accounts, ...secrets, ...configMaps, ...ofAccounts];
  return resolveReferences(service, referenceObjects(namespace, objects));
}

/** Whether a service's credentials come from objects that may change without a change of the service. */
export function hasCredentials(service: InferenceService): boolean {
  const { secrets, serviceAccounts } = wantedNames(service);
  return secrets.size > 0 || serviceAccounts.size > 0;
}

interface WantedNames {
  serviceAccounts: Set<string>;
  secrets: Set<string>;
  configMaps: Set<string>;
}

function wantedNames(service: InferenceService): WantedNames {
  const { model, containers, serviceAccountName } = service.spec.predictor;
  const wanted: WantedNames = { serviceAccounts: new Set(), secrets: new Set(), configMaps: new Set() };
  const { env, envFrom } = model ?? containers[0];
  for (const { valueFrom } of env) {
    if (valueFrom?.secretKeyRef !== undefined) wanted.secrets.add(valueFrom.secretKeyRef.name);
    if (valueFrom?.configMapKeyRef !== undefined) wanted.configMaps.add(valueFrom.configMapKeyRef.name);
  }
  for (const { secretRef, configMapRef } of envFrom) {
    if (secretRef !== undefined) wanted.secrets.add(secretRef.name);
    if (configMapRef !== undefined) wanted.configMaps.add(configMapRef.name);
  }
  if (model?.storage !== undefined) {
    wanted.secrets.add(storageSecretName(service));
  } else if (storeOf(model?.storageUri ?? '') !== undefined) {
    wanted.serviceAccounts.add(serviceAccountName ?? 'default');
    const annotated = annotatedStorageSecret(service);
    if (annotated !== undefined) wanted.secrets.add(annotated);
  }
  return wanted;
}

/** An annotation may name anything; what is no name is not asked for, and is missing. */
function isObjectName(name: string): boolean {
  return /^[a-z0-9](?:[-.a-z0-9]{0,251}[a-z0-9])?$/.test(name);
}

async function readAll(
  client: Pick<KubeClient, 'get'>,
  kind: 'ConfigMap' | 'Secret' | 'ServiceAccount',
  resource: ResourceKind,
  namespace: string,
  names: Iterable<string>,
): Promise<ConfigObject[]> {
  const objects = await Promise.all(
    [...names].filter(isObjectName).map(async (name) => {
      const found = await client.get<KubeObject>(objectPath({ ...resource, namespace, name }));
      if (found === undefined) return [];
      // The API server leaves kind and version out of what it sends in some places.
      const { binaryData: _binary, ...text } = found as KubeObject & { binaryData?: unknown };
      const parsed = parseConfigObject(kind, { ...text, apiVersion: 'v1', kind });
      return parsed.ok ? [parsed.object] : [];
    }),
  );
  return objects.flat();
}
