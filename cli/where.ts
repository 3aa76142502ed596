import { readFileSync } from 'node:fs';
import { join, resolve } from 'node:path';
import { z } from 'zod';

/** What `pilotlight serve DIR` leaves in `DIR/.pilotlight/serve.json`. */
const serveFileSchema = z.object({ url: z.url(), apiUrl: z.url() });

export interface PlatformAddresses {
  /** Where requests go in. */
  readonly url: string;
  /** The controller's JSON API. */
  readonly apiUrl: string;
  /** Where the addresses come from, for messages. */
  readonly source: string;
}

const DEFAULTS = { url: 'http://127.0.0.1:8080', apiUrl: 'http://127.0.0.1:8081' } as const;

/**
 * Where the platform is: as `pilotlight serve` has written it down for the folder, or at its default ports.
 *
 * @param dir folder that is served; by default the current one.
 */
export function findPlatform(dir: string | undefined): PlatformAddresses {
  const file = join(resolve(dir ?? '.'), '.pilotlight', 'serve.json');
  try {
    const { url, apiUrl } = serveFileSchema.parse(JSON.parse(readFileSync(file, 'utf8')));
    return { url, apiUrl, source: file };
  } catch {
    return { ...DEFAULTS, source: 'the default' };
  }
}
