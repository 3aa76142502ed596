import { type ModelIdentity, repositoryIndexEntry, type ServerExtension } from '../core/oip-metadata.ts';
import type { LoadedModel, RuntimePhase } from '../ports.ts';
import { servedVersion } from './admission.ts';
import type { Serving } from './work.ts';

/** What the server does beyond the protocol's core. */
export const EXTENSIONS: readonly ServerExtension[] = [
  'binary_tensor_data',
  'model_configuration',
  'statistics',
  'model_repository',
];

export function modelStats(serving: Serving, model: LoadedModel): object {
  return serving.statistics.of(model).toJson(model);
}

/** The statistics of every model that is loaded: one or none. */
export function allStats(serving: Serving): readonly object[] {
  const phase = serving.engine.current;
  return phase.phase === 'ready' ? [modelStats(serving, phase.model)] : [];
}

/** What this process holds or will hold; only what can be used now when `readyOnly`. */
export function repositoryIndex(phase: RuntimePhase, readyOnly = false): readonly object[] {
  const identity = (model: LoadedModel): ModelIdentity => ({
    name: model.name,
    version: servedVersion(model),
  });
  if (phase.phase === 'ready') return [repositoryIndexEntry(identity(phase.model), true)];
  if (readyOnly) return [];
  switch (phase.phase) {
    case 'standby':
      return [];
    case 'draining':
      return phase.model === undefined
        ? []
        : [repositoryIndexEntry(identity(phase.model), false, 'draining')];
    case 'specialising':
      return [repositoryIndexEntry({ name: phase.modelName, version: undefined }, false, 'being loaded')];
    case 'failed':
      return [
        repositoryIndexEntry({ name: phase.modelName, version: undefined }, false, phase.error.message),
      ];
  }
}
