import { writeSync } from 'node:fs';
import { join } from 'node:path';

/**
 * The programs of the control image: `pilotlight NAME ARGUMENTS…`, each with the flags that its Node takes. A new
 * one is a line here, a file of its name beside this one, and a line in `programs.ts`.
 */
const NODE_FLAGS: Readonly<Record<string, readonly string[]>> = {
  controller: [],
  // Bodies pass through in pieces that die at once; see the command line's `serve`.
  activator: ['--max-semi-space-size=2'],
};

const [name = '', ...rest] = process.argv.slice(2);
const flags = NODE_FLAGS[name];
if (flags === undefined || process.execve === undefined) {
  const known = Object.keys(NODE_FLAGS).join(' or ');
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
