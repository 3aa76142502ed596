import { parseArgs } from 'node:util';
import { OptionError } from './settings.ts';

/** What a controller in a cluster is told from outside; see `readOptions`. */
export interface ClusterOptions {
  readonly configFile: string;
  readonly keysDir: string;
  readonly apiPort: number;
  readonly healthPort: number;
  readonly host: string;
  readonly podName: string;
  readonly podNamespace: string;
  readonly podIp: string;
}

/**
 * Reads flags and the pod's own facts, which its manifest hands over as environment.
 * @throws OptionError
 */
export function readOptions(
  argv: readonly string[],
  env: Readonly<Record<string, string | undefined>>,
): ClusterOptions {
  const { values } = parsed(argv);
  const fact = (name: string): string => {
    const value = env[name];
    if (value !== undefined && value !== '') return value;
    throw new OptionError(`${name}: expected it in the environment, from the pod's own fields; got nothing`);
  };
  const port = (name: 'api-port' | 'health-port'): number => {
    const value = /^\d{1,5}$/.test(values[name]) ? Number(values[name]) : Number.NaN;
    if (value <= 65_535) return value;
    throw new OptionError(`--${name}: expected a port from 0 to 65535, got "${values[name]}"`);
  };
  return Object.freeze({
    configFile: values.config,
    keysDir: values['keys-dir'],
    apiPort: port('api-port'),
    healthPort: port('health-port'),
    host: values.host,
    podName: fact('POD_NAME'),
    podNamespace: fact('POD_NAMESPACE'),
    podIp: fact('POD_IP'),
  });
}

function parsed(argv: readonly string[]) {
  try {
    return parseArgs({
      args: [...argv],
      options: {
        kubernetes: { type: 'boolean' },
        config: { type: 'string', default: '/etc/pilotlight/config.yaml' },
        'keys-dir': { type: 'string', default: '/etc/pilotlight/keys' },
        'api-port': { type: 'string', default: '8443' },
        'health-port': { type: 'string', default: '9090' },
        host: { type: 'string', default: '::' },
      },
    });
  } catch (error) {
    throw new OptionError(error instanceof Error ? error.message : String(error));
  }
}
