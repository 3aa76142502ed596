import { parseArgs } from 'node:util';

/** A mistake on the command line: the message says which option, what was expected and what came. */
export class OptionError extends Error {
  override readonly name = 'OptionError';
}

/** What the controller of a local platform needs to know; parsed and checked once, then frozen. */
export interface LocalControllerSettings {
  /** Folder of manifests. */
  readonly dir: string;
  readonly stateDir: string;
  readonly cacheDir: string;
  readonly cacheMaxBytes: number;
  readonly standbys: number;
  /** How long only the same service may take a recycled standby. */
  readonly quarantineMs: number;
  /** Namespaces whose services may run code of their own; `*`: all. */
  readonly allowTransforms: readonly string[];
  readonly apiHost: string;
  readonly apiPort: number;
  /** Port of the activator, for the URLs that people see. */
  readonly urlPort: number;
  /** Held by a parent process; absent: the controller itself is the lifeline of its replicas. */
  readonly lifeline: string | undefined;
}

const FLAGS = {
  dir: { type: 'string' },
  'state-dir': { type: 'string' },
  'cache-dir': { type: 'string' },
  'cache-max-bytes': { type: 'string', default: String(20 * 1024 ** 3) },
  standbys: { type: 'string', default: '1' },
  'quarantine-ms': { type: 'string', default: '30000' },
  'allow-transforms': { type: 'string', default: '' },
  'api-host': { type: 'string', default: '127.0.0.1' },
  'api-port': { type: 'string', default: '8081' },
  'url-port': { type: 'string', default: '8080' },
  lifeline: { type: 'string' },
} as const;

const MAX_PORT = 65_535;
const MAX_STANDBYS = 1_000;
const MAX_QUARANTINE_MS = 3_600_000;

/**
 * The arguments behind the program's name as settings.
 *
 * @throws OptionError for an unknown, missing or malformed option.
 */
export function parseSettings(argv: readonly string[]): LocalControllerSettings {
  const values = parseFlags(argv);
  const text = (name: 'dir' | 'state-dir' | 'cache-dir'): string => {
    const value = values[name];
    if (value === undefined || value === '')
      throw new OptionError(`--${name}: expected a folder, got nothing`);
    return value;
  };
  const whole = (
    name: 'cache-max-bytes' | 'standbys' | 'quarantine-ms' | 'api-port' | 'url-port',
    most: number,
  ): number => {
    const number = /^\d+$/.test(values[name]) ? Number(values[name]) : Number.NaN;
    if (number <= most) return number;
    throw new OptionError(`--${name}: expected a whole number from 0 to ${most}, got "${values[name]}"`);
  };
  return Object.freeze({
    dir: text('dir'),
    stateDir: text('state-dir'),
    cacheDir: text('cache-dir'),
    cacheMaxBytes: whole('cache-max-bytes', Number.MAX_SAFE_INTEGER),
    standbys: whole('standbys', MAX_STANDBYS),
    quarantineMs: whole('quarantine-ms', MAX_QUARANTINE_MS),
    allowTransforms: Object.freeze(namespaces(values['allow-transforms'])),
    apiHost: values['api-host'],
    apiPort: whole('api-port', MAX_PORT),
    urlPort: whole('url-port', MAX_PORT),
    lifeline: values.lifeline,
  });
}

/** `a,b`, or `*` for all. */
function namespaces(text: string): string[] {
  return text
    .split(',')
    .map((name) => name.trim())
    .filter((name) => name !== '')
    .map((name) => {
      if (name === '*' || /^[a-z0-9]([-a-z0-9]{0,61}[a-z0-9])?$/.test(name)) return name;
      throw new OptionError(`--allow-transforms: expected namespaces such as "a,b", or "*", got "${name}"`);
    });
}

function parseFlags(argv: readonly string[]) {
  try {
    return parseArgs({ args: [...argv], options: FLAGS, strict: true }).values;
  } catch (error) {
    throw new OptionError(error instanceof Error ? error.message : String(error));
  }
}
