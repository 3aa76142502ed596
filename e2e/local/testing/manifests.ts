import { join } from 'node:path';

/** Manifests as objects; JSON is YAML, and documents are joined by `---`. */
export interface ManifestOptions {
  namespace?: string;
  annotations?: Record<string, string>;
  /** Fields of spec.predictor.model beside its format. */
  model?: Record<string, unknown>;
  /** Fields of spec.predictor; at most two replicas unless given, since two cores are soon full. */
  predictor?: Record<string, unknown>;
  /** Fields of spec.predictor.scaling; the shortest way to zero unless given. */
  scaling?: Record<string, unknown>;
}

function manifest(name: string, options: ManifestOptions, workload: Record<string, unknown>): string {
  const { namespace, annotations, predictor } = options;
  const scaling = { stableWindow: '6s', scaleToZeroGracePeriod: '1s', ...options.scaling };
  return JSON.stringify({
    apiVersion: 'serving.pilotlight.dev/v1alpha1',
    kind: 'InferenceService',
    metadata: { name, ...(namespace && { namespace }), ...(annotations && { annotations }) },
    spec: { predictor: { ...workload, maxReplicas: 2, ...predictor, scaling } },
  });
}

/** A service with a model at this path or URI. */
export function modelManifest(name: string, uri: string, options: ManifestOptions = {}): string {
  const storageUri = uri.startsWith('/') ? `file:${uri}` : uri;
  return manifest(name, options, {
    model: { modelFormat: { name: 'onnx' }, storageUri, ...options.model },
  });
}

/** A service of the test's own server. */
export function containerManifest(
  name: string,
  options: ManifestOptions & { args?: readonly string[]; env?: unknown; envFrom?: unknown } = {},
): string {
  const { args = [], env, envFrom } = options;
  const command = [process.execPath, join(import.meta.dirname, 'container-server.ts'), ...args];
  const container = {
    name: 'server',
    image: 'test/server',
    command,
    ...(env !== undefined && { env }),
    ...(envFrom !== undefined && { envFrom }),
  };
  return manifest(name, options, { containers: [container] });
}

export function configMap(name: string, data: Record<string, string>): string {
  return JSON.stringify({ apiVersion: 'v1', kind: 'ConfigMap', metadata: { name }, data });
}

export function secret(name: string, stringData: Record<string, string>): string {
  return JSON.stringify({ apiVersion: 'v1', kind: 'Secret', metadata: { name }, stringData });
}

export const documents = (...texts: string[]): string => texts.join('\n---\n');
