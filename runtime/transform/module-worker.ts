import { isBuiltin, registerHooks } from 'node:module';
import { parentPort } from 'node:worker_threads';
import type {
  Postprocess,
  Preprocess,
  TransformRequest,
  TransformResponse,
} from '../../contracts/transform.ts';
import { kindOf, tensorsForModule } from '../core/given-tensors.ts';
import { takePostprocessed, takePreprocessed } from '../core/hook-results.ts';
import { transferable } from '../engine/transfer.ts';
import type { FromModule, Hook, HookResult, ToModule } from './messages.ts';

/** The thread that a user's module runs in, and nothing else: it may hang, throw or eat its memory. */
const port = parentPort;
if (port === null) throw new Error('module-worker.ts runs in a worker thread only');

const SCHEME = 'transform:///';

let preprocess: Preprocess | undefined;
let postprocess: Postprocess | undefined;

const say = (message: FromModule, transferList: ArrayBuffer[] = []): void => {
  port.postMessage(message, transferList);
};

/** The module is run from the bytes that were checked, not from a file that may be another one by now. */
async function load(name: string, source: string): Promise<void> {
  const url = `${SCHEME}${encodeURIComponent(name)}`;
  registerHooks({
    resolve(specifier, context, nextResolve) {
      if (specifier === url) return { url, format: 'module', shortCircuit: true };
      if (context.parentURL?.startsWith(SCHEME) !== true || isBuiltin(specifier)) {
        return nextResolve(specifier, context);
      }
      throw new Error(
        `it imports '${specifier}': only Node's own modules (node:…) can be imported; bundle the rest into the one file`,
      );
    },
    load(loaded, context, nextLoad) {
      if (loaded === url) return { format: 'module', source, shortCircuit: true };
      return nextLoad(loaded, context);
    },
  });
  try {
    const module = (await import(url)) as Record<string, unknown>;
    preprocess = hookOf(module, 'preprocess') as Preprocess | undefined;
    postprocess = hookOf(module, 'postprocess') as Postprocess | undefined;
    const hooks: Hook[] = [
      ...(preprocess === undefined ? [] : (['preprocess'] as const)),
      ...(postprocess === undefined ? [] : (['postprocess'] as const)),
    ];
    if (hooks.length === 0) {
      const exported = Object.keys(module).slice(0, 10).join(', ') || 'nothing';
      throw new Error(`expected an exported function preprocess or postprocess; it exports ${exported}`);
    }
    say({ kind: 'loaded', hooks, rawContentTypes: rawTypesOf(module['rawContentTypes']) });
  } catch (error) {
    say({ kind: 'load-failed', message: described(error) });
  }
}

function hookOf(module: Record<string, unknown>, name: Hook): unknown {
  const hook = module[name];
  if (hook === undefined || typeof hook === 'function') return hook;
  throw new Error(`expected ${name} to be a function, got ${kindOf(hook)}`);
}

function rawTypesOf(given: unknown): string[] {
  if (given === undefined) return [];
  if (Array.isArray(given) && given.length <= 100 && given.every((type) => typeof type === 'string')) {
    return given.map((type) => type.trim().toLowerCase());
  }
  throw new Error(
    `expected rawContentTypes to be an array of texts such as 'application/json', got ${kindOf(given)}`,
  );
}

async function call(message: ToModule & { kind: 'call' }): Promise<void> {
  const { id } = message;
  try {
    const { ready, transferList } = handedOver(await run(message));
    say({ kind: 'done', id, result: ready }, transferList);
  } catch (error) {
    say({ kind: 'failed', id, message: described(error), status: statusOf(error) });
  }
}

async function run(message: ToModule & { kind: 'call' }): Promise<HookResult> {
  const { id } = message;
  if (message.hook === 'preprocess') {
    if (preprocess === undefined) throw new Error('the module has no preprocess');
    const request: TransformRequest = {
      ...message.request,
      inputs: tensorsForModule(message.request.inputs),
    };
    return takePreprocessed(await yielding(id, preprocess(request)));
  }
  if (postprocess === undefined) throw new Error('the module has no postprocess');
  const { response: given } = message;
  const response: TransformResponse = { ...given, outputs: tensorsForModule(given.outputs) };
  return takePostprocessed(await yielding(id, postprocess(response)));
}

/** A hook that gives a promise waits for something: the next call may begin. */
function yielding(id: number, given: unknown): unknown {
  const { then } = (given ?? {}) as { then?: unknown };
  if (typeof then === 'function') say({ kind: 'yielded', id });
  return given;
}

/**
 * Copies of what the module may have kept: memory that was handed over would be empty in its hands at its next call.
 */
function handedOver(result: HookResult): { ready: HookResult; transferList: ArrayBuffer[] } {
  switch (result.kind) {
    case 'body':
      return { ready: { ...result, body: Uint8Array.from(result.body) }, transferList: [] };
    case 'inputs': {
      const { tensors, transferList } = transferable(copies(result.inputs));
      return { ready: { ...result, inputs: tensors }, transferList };
    }
    case 'outputs': {
      const { tensors, transferList } = transferable(copies(result.outputs));
      return { ready: { ...result, outputs: tensors }, transferList };
    }
  }
}

function copies(tensors: Parameters<typeof transferable>[0]): Parameters<typeof transferable>[0] {
  return tensors.map((tensor) => ({ ...tensor, data: tensor.data.slice() as typeof tensor.data }));
}

function statusOf(error: unknown): number | undefined {
  const status = (error as { status?: unknown } | null | undefined)?.status;
  return typeof status === 'number' && Number.isInteger(status) && status >= 400 && status <= 499
    ? status
    : undefined;
}

const MAX_MESSAGE_CHARACTERS = 500;

/** `TypeError: x is not a function (transform.mjs:12:5)`; an error with a status is the caller's and goes without its place. */
function described(error: unknown): string {
  if (!(error instanceof Error)) return String(error).slice(0, MAX_MESSAGE_CHARACTERS);
  const text = error.message.slice(0, MAX_MESSAGE_CHARACTERS);
  if (statusOf(error) !== undefined) return text;
  const place = /transform:\/\/\/([^\s)]+)/.exec(error.stack ?? '')?.[1];
  const named = error.name === 'Error' ? text : `${error.name}: ${text}`;
  return place === undefined ? named : `${named} (${decodeURIComponent(place)})`;
}

port.on('message', (message: ToModule) => {
  void (message.kind === 'load' ? load(message.name, message.source) : call(message));
});
