import { existsSync, readdirSync } from 'node:fs';
import { createRequire } from 'node:module';
import { dirname, join } from 'node:path';
import type { ExecutionOrder } from '../../contracts/admin.ts';
import { PilotlightError } from '../../contracts/errors.ts';

/** What ONNX Runtime may compute on beside the CPU. */
export type Accelerator = Exclude<ExecutionOrder['provider'], 'cpu'>;

interface Looked {
  what: string;
  isThere: boolean;
}

/** What was looked for on this machine, and whether it is there: a word on why an accelerator can't be had. */
function lookFor(provider: Accelerator): Looked[] {
  const at = (path: string): Looked => ({ what: path, isThere: existsSync(path) });
  if (provider === 'webgpu')
    return [{ what: 'a device /dev/dri/renderD*', isThere: hasRenderDevice() }, at('/dev/nvidia0')];
  const library = 'libonnxruntime_providers_cuda.so';
  return [
    { what: `${library} beside onnxruntime-node`, isThere: existsSync(join(nativeFolder(), library)) },
    at('/dev/nvidia0'),
    at('/proc/driver/nvidia/version'),
  ];
}

function hasRenderDevice(): boolean {
  try {
    return readdirSync('/dev/dri').some((name) => name.startsWith('renderD'));
  } catch {
    return false;
  }
}

/** Where the package keeps its native files for this machine. */
function nativeFolder(): string {
  const main = createRequire(import.meta.url).resolve('onnxruntime-node');
  return join(dirname(main), '../bin/napi-v6', process.platform, process.arch);
}

const ADVICE: Readonly<Record<Accelerator, string>> = {
  cuda: 'CUDA needs an image with ONNX Runtime’s CUDA libraries (docs/gpu.md) and a pod that has a GPU',
  webgpu: 'WebGPU needs a GPU with a Vulkan driver in the pod (docs/gpu.md)',
};

/** Why an accelerator can't be had, as an error: what ONNX Runtime said, what was looked for, what was found, what to do. */
export function providerUnavailable(provider: Accelerator, cause: unknown): PilotlightError {
  const said = (cause instanceof Error ? cause.message : String(cause))
    .replace('ONNX Runtime refused the model: ', '')
    .trim()
    .slice(0, 300);
  const found = lookFor(provider).map(({ what, isThere }) => `${what}: ${isThere ? 'there' : 'not there'}`);
  return new PilotlightError(
    'execution-provider-unavailable',
    `the execution provider '${provider}' can't be had here: ${said}; looked for ${found.join(', ')}; ${ADVICE[provider]}, or let it fall back to the CPU`,
    { cause },
  );
}
