import type { StandbyFit, StoredRevision } from '../ports.ts';
import type { EngineContext, ServiceEntry } from './engine-context.ts';

/** Which pools' standbys can take a revision, by its fields and by the size of its model as far as that is known. */
export function fitOf(context: EngineContext, entry: ServiceEntry, revision: StoredRevision): StandbyFit {
  const { identity, name, resolved } = revision;
  const storedBytes = identity?.files.reduce((sum, { sizeBytes }) => sum + sizeBytes, 0);
  return context.platform.fit(resolved, storedBytes ?? entry.runtimes.get(name)?.weightsBytes);
}
