import type { InferenceService } from './inference-service.ts';

/** Annotations of a service that name the Secret with its storage settings; ours wins over KServe's. */
export const STORAGE_SECRET_ANNOTATIONS = [
  'serving.pilotlight.dev/storageSecretName',
  'serving.kserve.io/storageSecretName',
] as const;

const DEFAULT_NAME = 'storage-config';

/** The Secret that an annotation names, in the service's own namespace. */
export function annotatedStorageSecret(service: InferenceService): string | undefined {
  const { annotations } = service.metadata;
  return STORAGE_SECRET_ANNOTATIONS.map((name) => annotations[name]).find(
    (name) => name !== undefined && name !== '',
  );
}

/** The Secret whose entries `storage.key` names. */
export function storageSecretName(service: InferenceService): string {
  return annotatedStorageSecret(service) ?? DEFAULT_NAME;
}
