import { relative } from 'node:path';
import { COMMAND_LINE, DICTIONARY, IMAGE, SPEECH } from '../paths.ts';
import type { DemoContext } from './stage-context.ts';

/** What to try while the platform stays up; each line works as it is, in the folder where the demo was started. */
function thingsToTry(urls: { url: string; apiUrl: string }): readonly string[] {
  const here = (path: string): string => quoted(relative(process.cwd(), path));
  const command = `node ${here(COMMAND_LINE)}`;
  return [
    `${command} infer ocr ${here(IMAGE)} --decode ctc --dictionary ${here(DICTIONARY)} --url ${urls.url}`,
    `curl -s ${urls.url}/v2/models/vad/infer -d @${here(SPEECH)}`,
    `curl -s ${urls.url}/default/ocr/v2/models/ocr`,
    `${command} status --api ${urls.apiUrl}`,
    `curl -s ${urls.apiUrl}/api/cold-starts`,
  ];
}

/** Stays up until somebody presses Ctrl-C. */
export async function showWhatToTry({ screen, stage }: DemoContext): Promise<void> {
  await screen.step('Your turn: everything stays up until Ctrl-C');
  for (const command of thingsToTry(stage)) await screen.line(`${screen.style.dim('$')} ${command}`);
  await screen.line(screen.style.dim(`manifests to change while it runs: ${stage.manifests}`));
}

const quoted = (text: string): string =>
  /^[\w@%+=:,./-]+$/.test(text) ? text : `'${text.replaceAll("'", String.raw`'\''`)}'`;
