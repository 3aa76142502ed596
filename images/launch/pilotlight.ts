import { writeSync } from 'node:fs';
import { join } from 'node:path';
import { NODE_FLAGS } from '../../process/node-flags.ts';

/**
 * The programs of the control image: `pilotlight NAME ARGUMENTS…`. A new one is a line here, a file of its name
 * beside this one, and a line in `programs.ts`.
 */
const programs = new Map<string, readonly string[]>([
  ['controller', NODE_FLAGS.controller],
  ['activator', NODE_FLAGS.activator],
]);

const [name = '', ...rest] = process.argv.slice(2);
const flags = programs.get(name);
if (flags === undefined || process.execve === undefined) {
  const known = [...programs.keys()].join(' or ');
  writeSync(2, `pilotlight: expected ${known}, got '${name}'\n`);
  process.exit(2);
}
// In the place of this process, so that signals reach the program itself.
process.execve(process.execPath, [
  process.execPath,
  ...flags,
  join(import.meta.dirname, `${name}.js`),
  ...rest,
]);
