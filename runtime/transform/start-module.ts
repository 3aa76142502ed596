import { basename } from 'node:path';
import type { TransformOrder } from '../../contracts/admin.ts';
import type { PilotlightError } from '../../contracts/errors.ts';
import type { OpenedModel } from '../storage/open-model.ts';
import { companionText } from './companion-text.ts';
import { ModuleHost } from './module-host.ts';

interface Context {
  signal: AbortSignal;
  /** Called before the first line of the module runs. */
  onUserCode: () => void;
  onTrouble: (error: PilotlightError) => void;
}

/**
 * Starts a service's own code from the files that came with its model: its thread gets the text that was checked.
 *
 * @throws PilotlightError `model-digest-mismatch`, `transform-invalid`
 */
export async function startModule(
  { module, timeoutMs, memoryBytes }: TransformOrder,
  companions: OpenedModel['companions'],
  { signal, onUserCode, onTrouble }: Context,
): Promise<ModuleHost> {
  const source = await companionText(module, companions, signal);
  onUserCode();
  return ModuleHost.start(
    { name: basename(module.path), source },
    { timeoutMs, memoryBytes },
    signal,
    onTrouble,
  );
}
