import { setTimeout as delay } from 'node:timers/promises';
import { PilotlightError } from '../../contracts/errors.ts';
import { openModel } from '../../runtime/storage/open-model.ts';

/**
 * A process that opens a model and tells on standard output, one JSON line each: progress, then `opened` or
 * `failed`. Options as JSON in the first argument; with `holdMs` the model stays leased for that long.
 */
const { holdMs = 0, ...options } = JSON.parse(process.argv[2] ?? '{}');
const say = (line: Record<string, unknown>) => process.stdout.write(`${JSON.stringify(line)}\n`);

try {
  const model = await openModel({
    ...options,
    onProgress: (progress) => say({ event: 'progress', ...progress }),
  });
  const { modelPath, fromCache, sizeBytes } = model;
  say({ event: 'opened', modelPath, fromCache, sizeBytes });
  await delay(holdMs);
  await model.release();
} catch (error) {
  say({ event: 'failed', code: error instanceof PilotlightError ? error.code : String(error) });
  process.exitCode = 1;
}
