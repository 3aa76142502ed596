import { existsSync } from 'node:fs';
import { delimiter, join } from 'node:path';
import { ClusterError } from './errors.ts';
import { withLock } from './lock.ts';
import { step } from './steps.ts';

const FOLDERS_OF_ROOT = ['/usr/local/sbin', '/usr/local/bin', '/usr/sbin', '/usr/bin', '/sbin', '/bin'];

/** Where a program lies, also in the folders that only root has in its PATH. */
export function findProgram(name: string): string | undefined {
  const folders = [...(process.env['PATH'] ?? '').split(delimiter), ...FOLDERS_OF_ROOT];
  return folders.map((folder) => join(folder, name)).find((path) => existsSync(path));
}

export function isRoot(): boolean {
  return process.getuid?.() === 0;
}

/**
 * Sees to it that programs are there, by installing their Debian packages where one is missing.
 *
 * @param packagesByProgram the Debian package that brings each program
 * @param purpose for the error: what the programs are needed for
 * @throws ClusterError E2E_NEEDS_DEBIAN, E2E_NEEDS_ROOT or E2E_STEP_FAILED
 */
export async function ensurePrograms(
  packagesByProgram: Readonly<Record<string, string>>,
  purpose: string,
): Promise<void> {
  const missingNow = () =>
    Object.entries(packagesByProgram).filter(([program]) => findProgram(program) === undefined);
  if (missingNow().length === 0) return;
  await withLock('apt', async () => {
    const missing = missingNow();
    if (missing.length === 0) return;
    const packages = [...new Set(missing.map(([, debianPackage]) => debianPackage))];
    if (findProgram('apt-get') === undefined) {
      throw new ClusterError(
        'E2E_NEEDS_DEBIAN',
        `${purpose} takes ${missing.map(([program]) => program).join(', ')}, which this machine lacks, and apt-get to install it: install it by other means, or use a Debian or Ubuntu machine`,
      );
    }
    if (!isRoot()) {
      throw new ClusterError(
        'E2E_NEEDS_ROOT',
        `${purpose} takes the Debian packages ${packages.join(', ')}: install them (\`sudo apt-get install ${packages.join(' ')}\`) or run this as root`,
      );
    }
    await step(`Debian packages: ${packages.join(' ')}`, async ({ run, note }) => {
      const env = { DEBIAN_FRONTEND: 'noninteractive' };
      // Another apt-get may be at work: wait for it instead of failing.
      const quietly = ['-q', '-o', 'DPkg::Lock::Timeout=300', '-o', 'Acquire::Retries=3'];
      await run('apt-get', [...quietly, 'update'], { env }).catch((error: unknown) => {
        // One broken source among many must not stop the packages that the others offer.
        note(`apt-get update: ${String(error)}`);
      });
      await run('apt-get', [...quietly, 'install', '-y', '--no-install-recommends', ...packages], { env });
    });
  });
}
