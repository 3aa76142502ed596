import type { Command } from 'commander';
import { EXIT_CODES_HELP } from '../failure.ts';
import { becomeProgram, type ProgramName } from './program.ts';

interface ProgramHelp {
  readonly name: ProgramName;
  readonly description: string;
  /** Flags as the program itself parses them, with what they mean. */
  readonly options: readonly (readonly [flags: string, meaning: string])[];
  readonly examples: readonly string[];
  readonly notes?: string;
}

const PROGRAMS: readonly ProgramHelp[] = [
  {
    name: 'runtime',
    description: 'serve one model, without the platform: Open Inference Protocol over REST and gRPC, V1',
    options: [
      ['--model <uri>', 'file, folder, file:, http(s):, s3:, gs: or abfss: URI of an ONNX model'],
      ['--name <name>', 'name that requests call it by (default: from the URI)'],
      ['--port <port>', 'REST and gRPC; 0 takes any free one (default: 8080)'],
      ['--grpc-port <port>', 'one more port, for clients that want gRPC on its own'],
      ['--host <address>', 'address to listen at (default: 127.0.0.1)'],
      ['--admin-port <port>', 'health, metrics and control'],
      ['--instances <count>', 'sessions of the model (default: 1)'],
      ['--threads <count>', 'threads of each session (default: what the CPU limit leaves)'],
      ['--max-batch-size <rows>', 'put requests together to runs of so many rows at most; 1: never'],
      ['--max-latency-ms <ms>', 'how long such a run may wait for more (default: 0)'],
      ['--cache-dir <dir>', 'where fetched models are cached (default: ~/.cache/pilotlight/models)'],
      ['--cache-max-bytes <bytes>', 'size bound of that cache'],
      ['--triton-metrics', "metrics by Triton's names too (nv_inference_…), on the admin port"],
      ['--start-timeout-ms <ms>', 'give up loading after this long (default: 600000)'],
      ['--request-timeout-ms <ms>', 'longest time of a request (default: 300000)'],
      ['--standby', 'start without a model, to be given one through the admin port'],
    ],
    examples: [
      'pilotlight runtime --model model.onnx',
      'pilotlight runtime --model s3://models/resnet/ --name resnet --port 8080 --grpc-port 9000',
    ],
    notes: 'S3 credentials are read from AWS_ACCESS_KEY_ID, AWS_SECRET_ACCESS_KEY and AWS_REGION.',
  },
  {
    name: 'activator',
    description: 'carry requests to the replicas, and hold them while one is started',
    options: [
      ['--controller <url>', "the controller's API, http://host:port"],
      ['--port <port>', 'port for requests; 0 takes any free one (default: 8080)'],
      ['--host <address>', 'address to listen at (default: 127.0.0.1)'],
      ['--metrics-port <port>', '/healthz, /readyz and /metrics; 0 takes any free one'],
      ['--drain-ms <ms>', 'time to finish what is under way after SIGTERM (default: 4000)'],
      ['--lifeline <path>', 'end when whoever holds this socket ends'],
    ],
    examples: ['pilotlight activator --controller http://127.0.0.1:8081 --port 8080 --metrics-port 9090'],
    notes: 'The token for the controller is read from PILOTLIGHT_ACTIVATOR_TOKEN.',
  },
  {
    name: 'controller',
    description: 'decide how many replicas each service has, and see to it',
    options: [
      ['--dir <dir>', 'folder of manifests; watched for changes'],
      ['--state-dir <dir>', 'where it keeps what must survive a restart'],
      ['--cache-dir <dir>', 'where the runtimes cache fetched models'],
      ['--cache-max-bytes <bytes>', 'size bound of that cache'],
      ['--standbys <count>', 'started runtimes without a model, ready to take one (default: 1)'],
      ['--api-port <port>', 'JSON API, routes and metrics; 0 takes any free one (default: 8081)'],
      ['--api-host <address>', 'address of the API (default: 127.0.0.1)'],
      ['--url-port <port>', 'port of the activator, for the URLs in the status (default: 8080)'],
      ['--lifeline <path>', 'end when whoever holds this socket ends'],
      ['--kubernetes', 'look after a cluster instead; takes the three below and none above'],
      ['--config <file>', 'settings of the cluster (default: /etc/pilotlight/config.yaml)'],
      ['--keys-dir <dir>', 'keys and certificates (default: /etc/pilotlight/keys)'],
      ['--health-port <port>', '/healthz, /readyz and /metrics (default: 9090)'],
    ],
    examples: [
      'pilotlight controller --dir manifests --state-dir /var/lib/pilotlight --cache-dir /var/cache/pilotlight',
    ],
    notes:
      'The token that activators show is read from PILOTLIGHT_ACTIVATOR_TOKEN.\n"pilotlight serve" starts a controller and an activator that belong together.',
  },
];

/**
 * `pilotlight runtime`, `activator` and `controller`. They are run by becoming the program, which reads its own
 * arguments; what is here is their help.
 */
export function addProgramCommands(program: Command): void {
  for (const { name, description, options, examples, notes } of PROGRAMS) {
    const command = program.command(name).description(description);
    for (const [flags, meaning] of options) command.option(flags, meaning);
    command
      .allowUnknownOption()
      .allowExcessArguments()
      .addHelpText('after', helpEnd(examples, notes))
      .action(() => becomeProgram(name, process.argv.slice(3)));
  }
}

function helpEnd(examples: readonly string[], notes: string | undefined): string {
  const lines = examples.map((example) => `  ${example}`).join('\n');
  const more = notes === undefined ? '' : `\n\n${notes}`;
  return `${more}\n\nExamples:\n${lines}\n\nStops on SIGTERM and Ctrl-C, after what is under way. ${EXIT_CODES_HELP}`.replace(
    /^\n/,
    '',
  );
}
