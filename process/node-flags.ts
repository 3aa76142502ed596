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
