import { readFileSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { z } from 'zod';

const entrySchema = z.looseObject({
  version: z.string().optional(),
  resolved: z.string().optional(),
  optionalDependencies: z.record(z.string(), z.string()).optional(),
});
const lockfileSchema = z.looseObject({ packages: z.record(z.string(), entrySchema) });
export type Lockfile = z.infer<typeof lockfileSchema>;

export const LOCKFILE = join(import.meta.dirname, '../../package-lock.json');

export function readLockfile(path: string = LOCKFILE): Lockfile {
  return lockfileSchema.parse(JSON.parse(readFileSync(path, 'utf8')));
}

/**
 * Packages for other platforms that the lockfile names and has no entry for. A registry that doesn't serve them
 * leaves them out when the lockfile is written, and `npm ci` then refuses all of it as "not in sync".
 */
export function missingEntries({ packages }: Lockfile): { name: string; version: string }[] {
  return Object.values(packages)
    .flatMap(({ optionalDependencies = {} }) => Object.entries(optionalDependencies))
    .filter(([name]) => packages[`node_modules/${name}`] === undefined)
    .map(([name, version]) => ({ name, version }));
}

const SYSTEMS = ['android', 'darwin', 'freebsd', 'linux', 'openharmony', 'win32'];
const PROCESSORS = ['arm64', 'arm', 'x64', 'ia32', 'ppc64', 'riscv64', 's390x'];

/** What keeps npm from installing such a package elsewhere, read from its name: `binding-linux-x64-musl`. */
function platformOf(name: string): { os: string[]; cpu: string[]; libc?: string[] } {
  const words = name.split(/[/-]/);
  const os = SYSTEMS.filter((system) => words.includes(system));
  const cpu = PROCESSORS.filter((processor) => words.includes(processor));
  if (os.length !== 1 || cpu.length !== 1) throw new Error(`expected a platform in the name of ${name}`);
  if (os[0] !== 'linux') return { os, cpu };
  return { os, cpu, libc: [words.some((word) => word.startsWith('musl')) ? 'musl' : 'glibc'] };
}

/** `node e2e/structure/lockfile.ts`: completes the lockfile, after packages were added or removed. */
if (import.meta.main) {
  const lockfile = readLockfile();
  const missing = missingEntries(lockfile);
  for (const { name, version } of missing) {
    lockfile.packages[`node_modules/${name}`] = { version, dev: true, optional: true, ...platformOf(name) };
  }
  const root = lockfile.packages[''];
  const sorted = Object.entries(lockfile.packages).filter(([path]) => path !== '');
  sorted.sort(([left], [right]) => (left < right ? -1 : 1));
  lockfile.packages = { ...(root && { '': root }), ...Object.fromEntries(sorted) };
  writeFileSync(LOCKFILE, `${JSON.stringify(lockfile, null, 2)}\n`);
  process.stdout.write(`${missing.length} entries added to ${LOCKFILE}\n`);
}
