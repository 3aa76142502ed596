import { closeSync, mkdtempSync, openSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { basename, join } from 'node:path';
import { pathToFileURL } from 'node:url';
import { destination, pino } from 'pino';
import { CommandFailure, messageOf } from '../failure.ts';
import { type LocalPlatform, serve } from '../serve/serve.ts';

const LOG_LINES_OF_A_FAILED_START = 3;
const CACHE_BYTES = 2 * 1024 ** 3;

export interface Stage {
  readonly url: string;
  readonly apiUrl: string;
  /** The folder that is served. */
  readonly manifests: string;
  readonly logFile: string;
  /** Puts an example's manifest into the folder that is served. */
  apply(manifest: string): void;
  /** The end of the platform's log. */
  logTail(lines: number): string[];
  stop(): Promise<void>;
  /** Removes everything that the demonstration has written. */
  remove(): void;
}

/**
 * Starts the platform on an empty folder of its own, with a cache of its own, so that nothing of this machine's
 * user is touched and nothing is there from before.
 */
export async function setStage(ports: { port: number; apiPort: number }): Promise<Stage> {
  const folder = mkdtempSync(join(tmpdir(), 'pilotlight-demo-'));
  const manifests = mkdtempSync(join(folder, 'manifests-'));
  const logFile = join(folder, 'platform.log');
  const logDescriptor = openSync(logFile, 'a');
  const logger = pino({ base: { component: 'serve' } }, destination({ dest: logDescriptor, sync: true }));
  let platform: LocalPlatform;
  try {
    platform = await serve({
      dir: manifests,
      host: '127.0.0.1',
      ...ports,
      cacheDir: join(folder, 'cache'),
      cacheMaxBytes: CACHE_BYTES,
      standbys: 1,
      logger,
      logDescriptor,
    });
  } catch (error) {
    closeSync(logDescriptor);
    const log = readFileSync(logFile, 'utf8').trimEnd();
    rmSync(folder, { recursive: true, force: true });
    const end = log.split('\n').slice(-LOG_LINES_OF_A_FAILED_START).join('\n    ');
    throw new CommandFailure(`${messageOf(error)}${end === '' ? '' : `\n    ${end}`}`);
  }
  return {
    url: platform.url,
    apiUrl: platform.apiUrl,
    manifests,
    logFile,
    apply: (manifest) => writeFileSync(join(manifests, basename(manifest)), movedManifest(manifest)),
    logTail: (lines) => readFileSync(logFile, 'utf8').trimEnd().split('\n').slice(-lines),
    stop: async () => {
      await platform.stop();
      closeSync(logDescriptor);
    },
    remove: () => rmSync(folder, { recursive: true, force: true }),
  };
}

/** `file:` URIs are relative to their manifest; in another folder they have to be absolute. */
function movedManifest(path: string): string {
  return readFileSync(path, 'utf8').replaceAll(
    /file:(\.\.?\/\S+)/g,
    (_uri, relative: string) => new URL(relative, pathToFileURL(path)).href,
  );
}
