import { randomBytes } from 'node:crypto';
import { mkdirSync, readdirSync, readFileSync, renameSync, rmSync, writeFileSync } from 'node:fs';
import { basename, join } from 'node:path';

/**
 * Where the local platform keeps what must outlive a controller: its epoch, the services' identities and
 * revisions, who owns which child process, and the status files that people read. All of it is small JSON,
 * written by atomic rename, readable by the owner alone since tokens are among it.
 */
export class StateFolder {
  readonly path: string;
  readonly replicas: string;
  readonly status: string;
  readonly revisions: string;

  constructor(path: string) {
    this.path = path;
    this.replicas = join(path, 'replicas');
    this.status = join(path, 'status');
    this.revisions = join(path, 'revisions');
    for (const folder of [path, this.replicas, this.status, this.revisions]) {
      mkdirSync(folder, { recursive: true, mode: 0o700 });
    }
  }

  /** Counts up the epoch: each controller that takes over gets a higher one than all before. */
  nextEpoch(): number {
    const file = join(this.path, 'epoch.json');
    const last = readJson(file);
    const epoch = (typeof last === 'number' ? last : 0) + 1;
    writeJson(file, epoch);
    return epoch;
  }
}

/** Parsed content, or undefined when the file is missing or isn't JSON. */
export function readJson(file: string): unknown {
  try {
    return JSON.parse(readFileSync(file, 'utf8')) as unknown;
  } catch {
    return undefined;
  }
}

/** Replaces the file as a whole: a reader sees the old or the new content, never half of it. */
export function writeJson(file: string, value: unknown): void {
  const temporary = `${file}.${randomBytes(4).toString('hex')}.tmp`;
  writeFileSync(temporary, `${JSON.stringify(value, null, 2)}\n`, { mode: 0o600 });
  renameSync(temporary, file);
}

export function removeFile(file: string): void {
  rmSync(file, { force: true });
}

/** Names of the JSON files in a folder, without ending. */
export function listJson(folder: string): string[] {
  return readdirSync(folder)
    .filter((name) => name.endsWith('.json'))
    .map((name) => basename(name, '.json'))
    .sort();
}
