/**
 * Flags that each program's Node is started with, wherever it is started: compiled code is good for the flags only
 * under which it was compiled.
 */
export const NODE_FLAGS = {
  controller: [],
  // Bodies pass through in pieces that die at once. With V8's own 16 MB of young generation some 60 MB of them lie
  // about before it looks.
  activator: ['--max-semi-space-size=2'],
  // What reading the program has left in the heap is given back (runtime/engine/trim-memory.ts). Switched on at run
  // time instead, for a moment, it would be on for all threads, and what one of them imports in that moment would be
  // compiled anew.
  runtime: ['--expose-gc'],
} as const satisfies Record<string, readonly string[]>;

/**
 * Environment of a runtime, wherever it is started. glibc raises the size from which it maps memory by itself up to
 * 32 MiB, and what is smaller it keeps once it is free: of matrices of 17 MB that ONNX Runtime held for a moment while
 * it loaded a model of 200 MB, 51 MB stayed for good. From 4 MiB on, what is free is given back.
 */
export const RUNTIME_ENVIRONMENT = { MALLOC_MMAP_THRESHOLD_: String(4 * 1024 ** 2) } as const;
