import type { ReplicaRecord } from '../core/replica-record.ts';
import { changeRecord, type EngineContext, runtimeOf, type ServiceEntry } from './engine-context.ts';
import { publishRoute } from './publish.ts';

/** A runtime that has found that its model gains from running requests together takes more of them at once. */
export function takeCapacity(
  context: EngineContext,
  entry: ServiceEntry,
  { id, owner, phase, capacity: before }: ReplicaRecord,
  capacity: number,
): void {
  if (phase !== 'ready' || capacity === before) return;
  changeRecord(context, id, { capacity });
  runtimeOf(entry, owner?.revision ?? '').capacity = capacity;
  publishRoute(context, entry);
  context.logger.info(
    { replica: id, before, capacity },
    'a replica takes another number of requests at once',
  );
}
