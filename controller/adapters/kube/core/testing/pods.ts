import { parseStandbyPool } from '../../../../../crds/standby-pool.ts';
import { resolvedService } from '../../../../core/testing/resolved-service.ts';
import type { ReplicaTemplate } from '../../../../ports.ts';
import { parseKubeConfig } from '../../config.ts';
import type { PoolObject } from '../pod.ts';
import type { KubeSettings, PodContext } from '../settings.ts';

/** Settings as config.yaml gives them. */
export function kubeSettings(config: Record<string, unknown> = {}): KubeSettings {
  const parsed = parseKubeConfig({ runtimeImage: 'pilotlight-runtime:1', ...config }, 'pilotlight-system');
  if (!parsed.ok) throw new Error(JSON.stringify(parsed.problems));
  return parsed.settings;
}

export function podContext(config: Record<string, unknown> = {}): PodContext {
  return { settings: kubeSettings(config), trust: { adminPublicKey: 'cHVibGlj', controlCa: 'PEM' } };
}

/** A pool as the API server holds it. */
export function poolObject(spec: Record<string, unknown> = {}, name = 'small'): PoolObject {
  const parsed = parseStandbyPool({
    apiVersion: 'serving.pilotlight.dev/v1alpha1',
    kind: 'StandbyPool',
    metadata: { name, namespace: 'team' },
    spec,
  });
  if (!parsed.ok) throw new Error(JSON.stringify(parsed.problems));
  return { namespace: 'team', name, uid: 'pool-uid', spec: parsed.pool.spec };
}

/** What the engine asks a replica of its own from. */
export function replicaTemplate(
  predictor: Record<string, unknown> = {},
  model: Record<string, unknown> = {},
): ReplicaTemplate {
  const { service } = resolvedService('ocr', { namespace: 'team', predictor, model });
  return {
    serviceUid: 'service-uid',
    namespace: 'team',
    service: 'ocr',
    revision: 'ocr-00003',
    origin: service.spec.predictor.model === undefined ? 'container' : 'runtime',
    spec: service.spec.predictor,
    env: {},
  };
}
