import { isUtf8 } from 'node:buffer';
import { createHash } from 'node:crypto';
import { readFile } from 'node:fs/promises';
import { basename } from 'node:path';
import type { TransformOrder } from '../../contracts/admin.ts';
import { PilotlightError } from '../../contracts/errors.ts';
import type { OpenedModel } from '../storage/open-model.ts';
import { ModuleHost } from './module-host.ts';

interface Context {
  signal: AbortSignal;
  /** Called before the first line of the module runs. */
  onUserCode: () => void;
  onTrouble: (error: PilotlightError) => void;
}

/**
 * Starts a service's own code from the files that came with its model. What runs is what was hashed: the file is read
 * once, and its thread gets the text.
 *
 * @throws PilotlightError `model-digest-mismatch`, `transform-invalid`
 */
export async function startModule(
  { module, timeoutMs, memoryBytes }: TransformOrder,
  companions: OpenedModel['companions'],
  { signal, onUserCode, onTrouble }: Context,
): Promise<ModuleHost> {
  const found = companions.find(({ path }) => path === module.path || path.endsWith(`/${module.path}`));
  if (found === undefined) {
    throw new PilotlightError('internal', `the model came without ${module.path}`);
  }
  const name = basename(module.path);
  const bytes = await readFile(found.path, { signal });
  const sha256 = createHash('sha256').update(bytes).digest('hex');
  const expected = module.sha256 ?? found.sha256;
  if (expected !== undefined && sha256 !== expected) {
    throw new PilotlightError(
      'model-digest-mismatch',
      `${name} has the sha256 ${sha256}; expected ${expected}`,
    );
  }
  if (!isUtf8(bytes)) throw new PilotlightError('transform-invalid', `${name} is no text in UTF-8`);
  onUserCode();
  const source = { name, source: bytes.toString('utf8') };
  return ModuleHost.start(source, { timeoutMs, memoryBytes }, signal, onTrouble);
}
