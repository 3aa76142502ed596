import { parseInferenceService } from '../../../crds/schema.ts';
import type { ResolvedService } from '../../ports.ts';

interface ServiceOptions {
  uid?: string;
  namespace?: string;
  generation?: number;
  uri?: string;
  annotations?: Record<string, string>;
  /** Further fields of the predictor. */
  predictor?: Record<string, unknown>;
  /** Further fields of the model. */
  model?: Record<string, unknown>;
  scaling?: Record<string, unknown>;
}

/** A service as the platform would resolve it from a manifest. */
export function resolvedService(name: string, options: ServiceOptions = {}): ResolvedService {
  const {
    uid = `uid-${name}`,
    namespace = 'default',
    generation = 1,
    uri = `file:/models/${name}`,
  } = options;
  const { predictor = {}, model = {}, scaling = {}, annotations = {} } = options;
  const runs =
    predictor['containers'] === undefined
      ? { model: { modelFormat: { name: 'onnx' }, storageUri: uri, ...model } }
      : {};
  const parsed = parseInferenceService({
    apiVersion: 'serving.pilotlight.dev/v1alpha1',
    kind: 'InferenceService',
    metadata: { name, namespace, annotations },
    spec: { predictor: { ...runs, ...predictor, scaling: { initialScale: 0, ...scaling } } },
  });
  if (!parsed.ok) throw new Error(JSON.stringify(parsed.problems));
  return {
    uid,
    generation,
    service: parsed.service,
    env: {},
    warnings: [],
    ...(predictor['containers'] === undefined && { modelUri: uri }),
  };
}
