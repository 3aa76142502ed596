import { PilotlightError } from '../../contracts/errors.ts';
import { parseLabels } from '../../vision/labels.ts';
import type { Companion } from '../storage/companions.ts';
import type { OpenedModel } from '../storage/open-model.ts';
import { companionText } from './companion-text.ts';

/** Names of classes, one a line. @throws PilotlightError `model-invalid`, `model-digest-mismatch` */
export async function readLabels(
  file: Companion,
  companions: OpenedModel['companions'],
  signal: AbortSignal,
): Promise<string[]> {
  const names = parseLabels(await companionText(file, companions, signal));
  const index = names.findIndex((name) => name === '' || name.includes('\0'));
  if (index < 0) return names;
  throw new PilotlightError(
    'model-invalid',
    `${file.path}: line ${index + 1} has no name; expected one class a line`,
  );
}
