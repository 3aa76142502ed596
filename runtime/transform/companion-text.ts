import { isUtf8 } from 'node:buffer';
import { createHash } from 'node:crypto';
import { readFile } from 'node:fs/promises';
import { PilotlightError } from '../../contracts/errors.ts';
import type { Companion } from '../storage/companions.ts';
import type { OpenedModel } from '../storage/open-model.ts';

/**
 * The text of a file that came with a model. It is read once and hashed as it was read, so that what is used is what
 * was checked.
 *
 * @throws PilotlightError `model-digest-mismatch`, `model-invalid` for what is no text
 */
export async function companionText(
  companion: Companion,
  companions: OpenedModel['companions'],
  signal: AbortSignal,
): Promise<string> {
  const bytes = await companionBytes(companion, companions, signal);
  if (!isUtf8(bytes)) throw new PilotlightError('model-invalid', `${companion.path} is no text in UTF-8`);
  return bytes.toString('utf8');
}

/** The same for what is no text. @throws PilotlightError `model-digest-mismatch` */
export async function companionBytes(
  { path, sha256: wanted }: Companion,
  companions: OpenedModel['companions'],
  signal: AbortSignal,
): Promise<Buffer> {
  const found = companions.find((one) => one.path === path || one.path.endsWith(`/${path}`));
  if (found === undefined) throw new PilotlightError('internal', `the model came without ${path}`);
  const bytes = await readFile(found.path, { signal });
  const sha256 = createHash('sha256').update(bytes).digest('hex');
  const expected = wanted ?? found.sha256;
  if (expected !== undefined && sha256 !== expected) {
    throw new PilotlightError(
      'model-digest-mismatch',
      `${path} has the sha256 ${sha256}; expected ${expected}`,
    );
  }
  return bytes;
}
