import { closeSync, openSync, readFileSync, readSync } from 'node:fs';
import { createRequire } from 'node:module';
import { arch, cpus } from 'node:os';
import { dirname, join } from 'node:path';
import { z } from 'zod';
import type { EngineKey } from '../storage/compiled-index.ts';

/** Raised with each change of how `optimised` and `prepacked` are made. */
const COMPILED_FORMAT = 2;

let key: EngineKey | undefined;

/** What a compiled form is good for besides its model: this ONNX Runtime, on processors like this one. */
export function engineKey(): EngineKey {
  key ??= {
    format: COMPILED_FORMAT,
    onnxRuntime: engineVersion(),
    provider: 'cpu',
    level: 'all',
    cpu: cpuFeatures(),
  };
  return key;
}

/** Of ONNX Runtime, from its package: the engine itself is loaded in the workers alone. */
function engineVersion(): string {
  const main = createRequire(import.meta.url).resolve('onnxruntime-node');
  const text = readFileSync(join(dirname(main), '../package.json'), 'utf8');
  return z.object({ version: z.string() }).parse(JSON.parse(text)).version;
}

/** Architecture and instruction sets: a cache volume, or a form made elsewhere, may come from another kind of machine. */
function cpuFeatures(): string {
  const flags = featureFlags();
  return `${arch()} ${flags === undefined ? (cpus()[0]?.model ?? '') : vectorFeatures(flags).join(' ')}`.trim();
}

/**
 * Of all flags of a processor those of its vector units, by which ONNX Runtime chooses kernels and layouts. The rest
 * (virtualisation, mitigations, timers) differs between kernels of one kind of machine and decides nothing here.
 */
export function vectorFeatures(flags: string): string[] {
  const wanted = /^(?:s?sse|avx|amx|fma|f16c|gfni|asimd|sve|sme(?!p)|fphp|i8mm|bf16|f32mm|f64mm)/;
  return [...new Set(flags.split(/\s+/).filter((flag) => wanted.test(flag)))].sort();
}

/** Of the first processor: the whole file takes milliseconds on a machine of a hundred. */
function featureFlags(): string | undefined {
  try {
    const file = openSync('/proc/cpuinfo', 'r');
    try {
      const buffer = Buffer.alloc(8192);
      const text = buffer.toString('latin1', 0, readSync(file, buffer, 0, buffer.length, 0));
      return /^(?:flags|Features)\s*:(.*)$/m.exec(text)?.[1];
    } finally {
      closeSync(file);
    }
  } catch {
    return undefined;
  }
}
