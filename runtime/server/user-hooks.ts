import { PilotlightError } from '../../contracts/errors.ts';
import type { TransformParameters } from '../../contracts/transform.ts';
import { headersForModule, mediaType, type TakenAnswer } from '../core/hook-results.ts';
import { validateInputs } from '../core/model-signature.ts';
import { shown, type Tensor } from '../core/tensor.ts';
import type { LoadedModel, UserModule } from '../ports.ts';
import type { Hook, HookCall, HookResult, ResponseForHook } from '../transform/messages.ts';
import { servedVersion } from './admission.ts';
import type { Exchange } from './exchange.ts';
import { headerText, type Work } from './work.ts';

/** What hooks are told of a request, whatever protocol it came in. */
export interface HookSubject {
  readonly protocol: 'v2' | 'v1' | 'grpc';
  readonly id: string | undefined;
  readonly parameters: TransformParameters;
  /** Names of the outputs asked for; empty means all. */
  readonly outputs: readonly string[];
}

/** What of a request goes to `preprocess`: its tensors, or its body as it came. */
export interface HookInput {
  readonly inputs: readonly Tensor[];
  readonly body: Uint8Array | undefined;
}

export interface Preparation {
  readonly inputs: readonly Tensor[];
  /** For `postprocess`. */
  readonly state: unknown;
  readonly tookMs: number;
}

/** The module of a model, if it has this hook. */
export function moduleWith(model: LoadedModel, hook: Hook): UserModule | undefined {
  return model.userModule?.exports.hooks.includes(hook) === true ? model.userModule : undefined;
}

/**
 * Has the user's module make the model's inputs.
 *
 * @throws PilotlightError of the module; `transform-failed` for inputs that the model doesn't take.
 */
export async function preprocess(
  module: UserModule,
  model: LoadedModel,
  exchange: Pick<Exchange, 'headers'>,
  work: Work,
  subject: HookSubject,
  input: HookInput,
): Promise<Preparation> {
  const startedMs = performance.now();
  const request = { ...aboutRequest(model, exchange), ...subject, ...input };
  const result = await callHook(module, { hook: 'preprocess', request }, work);
  if (result.kind !== 'inputs') throw unexpected('preprocess', result);
  try {
    validateInputs(model.signature, result.inputs);
  } catch (error) {
    // The module's mistake, or at least nothing that the caller can read from the model's metadata.
    const reason = error instanceof Error ? error.message : String(error);
    throw new PilotlightError(
      'transform-failed',
      `preprocess gave inputs that the model doesn't take: ${reason}`,
    );
  }
  return { inputs: result.inputs, state: result.state, tookMs: performance.now() - startedMs };
}

/** Has the user's module make an answer of the model's outputs. @throws PilotlightError of the module */
export async function postprocess(
  module: UserModule,
  model: LoadedModel,
  exchange: Pick<Exchange, 'headers'>,
  work: Work,
  subject: HookSubject,
  result: Pick<ResponseForHook, 'outputs' | 'state'>,
): Promise<TakenAnswer> {
  const { protocol, id, parameters } = subject;
  const response = { ...aboutRequest(model, exchange), protocol, id, parameters, ...result };
  const answer = await callHook(module, { hook: 'postprocess', response }, work);
  if (answer.kind === 'inputs') throw unexpected('postprocess', answer);
  return answer;
}

/** The outputs of a module that a caller asked for, in that order. @throws PilotlightError `invalid-request` */
export function selected(outputs: readonly Tensor[], names: readonly string[]): readonly Tensor[] {
  if (names.length === 0) return outputs;
  return names.map((name) => {
    const found = outputs.find((output) => output.name === name);
    if (found !== undefined) return found;
    const there = outputs.map((output) => `'${shown(output.name)}'`).join(', ');
    throw new PilotlightError(
      'invalid-request',
      `unknown output '${shown(name)}'; the service gives ${there}`,
    );
  });
}

function aboutRequest(
  model: LoadedModel,
  exchange: Pick<Exchange, 'headers'>,
): Pick<ResponseForHook, 'model' | 'contentType' | 'headers'> {
  return {
    model: { name: model.name, version: servedVersion(model) },
    contentType: mediaType(headerText(exchange, 'content-type')),
    headers: headersForModule(exchange.headers),
  };
}

function callHook(module: UserModule, call: HookCall, { deadlineMs, signal }: Work): Promise<HookResult> {
  return module.call(call, { deadlineMs, signal });
}

function unexpected(hook: Hook, result: HookResult): PilotlightError {
  return new PilotlightError('internal', `the thread of ${hook} gave ${result.kind}`);
}
