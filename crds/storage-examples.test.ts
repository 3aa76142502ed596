import { readdirSync } from 'node:fs';
import { join } from 'node:path';
import { describe, expect, it } from 'vitest';
import type { ConfigObject } from './config-objects.ts';
import type { InferenceService } from './inference-service.ts';
import { readManifest } from './manifest.ts';
import { referenceObjects, resolveReferences } from './references.ts';

const FOLDER = join(import.meta.dirname, '../examples/storage');

/** What each example's service is told of its store, in the words of the access. */
const EXPECTED: Readonly<Record<string, object>> = {
  's3-secret.yaml': { access: { s3: { accessKeyId: 'my-key', useHttps: false } }, carriesCredentials: true },
  'storage-config.yaml': { uri: 's3://models/ocr/rec.onnx', carriesCredentials: true },
  's3-anonymous.yaml': { access: { s3: { anonymous: true } }, carriesCredentials: true },
  's3-pod-identity.yaml': { uri: 's3://my-models/ocr/rec.onnx', access: { s3: {} } },
  'gcs.yaml': { access: { gcs: { serviceAccount: {} } }, carriesCredentials: true },
  'azure.yaml': { access: { azure: { servicePrincipal: {} } }, carriesCredentials: true },
  'https.yaml': { access: { http: { headers: { authorization: 'Bearer my-token' } } } },
  'pvc.yaml': { uri: 'file:///mnt/claims/weights/ocr/rec.onnx' },
};

describe('the examples of where models come from', () => {
  it('are all known here', () => {
    expect(readdirSync(FOLDER).sort()).toEqual(Object.keys(EXPECTED).sort());
  });

  it.each(Object.entries(EXPECTED))('%s works as it is', async (name, storage) => {
    const { documents, warnings } = await readManifest(join(FOLDER, name));
    const objects: ConfigObject[] = [];
    const services: InferenceService[] = [];
    for (const document of documents) {
      if (document.state === 'invalid') throw new Error(JSON.stringify(document.problems));
      if (document.kind === 'InferenceService') services.push(document.service);
      if (document.kind === 'Secret') objects.push(document.secret);
      if (document.kind === 'ServiceAccount') objects.push(document.serviceAccount);
    }
    expect(warnings).toEqual([]);
    expect(services).toHaveLength(1);
    for (const service of services) {
      const resolved = resolveReferences(service, referenceObjects('default', objects));
      expect(resolved).toMatchObject({ ok: true, value: { storage } });
      const { carriesCredentials } = (resolved.ok && resolved.value.storage) || {};
      // Who needs the pod's identity has a pool with the account; nobody else names an account without a Secret.
      expect(carriesCredentials === true || name.startsWith('s3-pod') || name === 'pvc.yaml').toBe(true);
    }
  });
});
