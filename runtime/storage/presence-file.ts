import { readFile, rm, stat, utimes, writeFile } from 'node:fs/promises';
import { HEARTBEAT_MS, isGone, ownMark, processMarkSchema } from './process-mark.ts';

/**
 * A file that says "this process is here" for as long as it exists: what locks and leases are made of. Its
 * change time is a heartbeat for those who cannot look the process up.
 */
export class PresenceFile {
  readonly path: string;
  private readonly timer: NodeJS.Timeout;

  private constructor(path: string) {
    this.path = path;
    this.timer = setInterval(() => {
      const now = new Date();
      // Gone or unwritable: whoever removed it has decided; the owner notices at its next check.
      utimes(path, now, now).catch(() => undefined);
    }, HEARTBEAT_MS);
    this.timer.unref();
  }

  /** @throws system error EEXIST when the file is there already */
  static async create(path: string): Promise<PresenceFile> {
    await writeFile(path, JSON.stringify(ownMark()), { flag: 'wx' });
    return new PresenceFile(path);
  }

  /** Idempotent. */
  async remove(): Promise<void> {
    clearInterval(this.timer);
    await rm(this.path, { force: true });
  }
}

/** True while the process behind a presence file lives; false when the file is not there. */
export async function isPresent(path: string, nowMs: number): Promise<boolean> {
  try {
    const { mtimeMs } = await stat(path);
    const text = await readFile(path, 'utf8');
    return !isGone(parseMark(text), nowMs - mtimeMs);
  } catch {
    return false;
  }
}

function parseMark(text: string) {
  try {
    return processMarkSchema.safeParse(JSON.parse(text)).data;
  } catch {
    return undefined;
  }
}
