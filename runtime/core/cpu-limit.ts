/** What a process may really use, as opposed to what the machine has. */
export interface KnownLimits {
  /** May be a fraction: a quota of 150 ms in each 100 ms is 1.5. */
  readonly cpus: number;
  /** Absent when nothing limits memory. */
  readonly memoryBytes?: number;
}

/** Control-group folders whose limits apply to a process: its own, and every ancestor that the mount shows. */
export interface CgroupFolders {
  readonly version: 1 | 2;
  readonly controller: 'cpu' | 'memory';
  readonly folders: readonly string[];
}

interface CgroupMount {
  readonly version: 1 | 2;
  /** Folder of the hierarchy that is mounted. */
  readonly root: string;
  readonly mountPoint: string;
  /** v1 only: the controllers of this hierarchy. */
  readonly controllers: readonly string[];
}

/** PAGE_COUNTER_MAX × 4 KiB is 2^63 − 4096; anything from 2^62 bytes is the kernel's way to say "none". */
const UNLIMITED_BYTES = 2 ** 62;

/**
 * The folders to look for limits in, from the texts of `/proc/self/cgroup` and `/proc/self/mountinfo`
 * (formats: cgroups(7), proc_pid_mountinfo(5)). In a container the mount's root is often the container's own
 * group, and `/proc/self/cgroup` shows either `/` (own namespace) or the path on the host; both lead to the mount
 * point. On a machine with both versions (hybrid) both are listed, and the one without files doesn't count.
 */
export function cgroupFolders(cgroupText: string, mountinfoText: string): CgroupFolders[] {
  const mounts = parseMounts(mountinfoText);
  const found: CgroupFolders[] = [];
  for (const line of cgroupText.split('\n')) {
    const match = /^\d+:([^:]*):(\/.*)$/.exec(line);
    if (match === null) continue;
    const controllers = (match[1] ?? '').split(',');
    const path = match[2] ?? '/';
    const version = match[1] === '' ? 2 : 1;
    for (const controller of ['cpu', 'memory'] as const) {
      if (version === 1 && !controllers.includes(controller)) continue;
      for (const mount of mounts) {
        if (mount.version !== version) continue;
        if (version === 1 && !mount.controllers.includes(controller)) continue;
        found.push({ version, controller, folders: foldersUpTo(mount, path) });
      }
    }
  }
  return found;
}

function parseMounts(mountinfoText: string): CgroupMount[] {
  const mounts: CgroupMount[] = [];
  for (const line of mountinfoText.split('\n')) {
    const [before, after] = line.split(' - ');
    if (before === undefined || after === undefined) continue;
    const [, , , root, mountPoint] = before.split(' ');
    const [type, , options] = after.split(' ');
    if (root === undefined || mountPoint === undefined) continue;
    if (type !== 'cgroup' && type !== 'cgroup2') continue;
    mounts.push({
      version: type === 'cgroup2' ? 2 : 1,
      root: unescapeOctal(root),
      mountPoint: unescapeOctal(mountPoint),
      controllers: (options ?? '').split(','),
    });
  }
  return mounts;
}

/** The kernel writes space, tab, newline and backslash in paths as three octal digits. */
function unescapeOctal(path: string): string {
  return path.replace(/\\([0-7]{3})/g, (_, digits: string) =>
    String.fromCharCode(Number.parseInt(digits, 8)),
  );
}

/** The group's folder and its ancestors, the mount point last; the mount point alone for a group that it doesn't show. */
function foldersUpTo(mount: CgroupMount, path: string): string[] {
  const root = mount.root === '/' ? '' : mount.root;
  const isInside = path === root || path.startsWith(`${root}/`);
  const steps = isInside
    ? path
        .slice(root.length)
        .split('/')
        .filter((step) => step !== '')
    : [];
  if (steps.includes('..')) return [mount.mountPoint];
  const folders = [];
  for (let length = steps.length; length >= 0; length--) {
    folders.push([mount.mountPoint, ...steps.slice(0, length)].join('/'));
  }
  return folders;
}

/** The limit files of a folder, for the caller to read; those that don't exist are left out of what it passes on. */
export function limitFiles(group: CgroupFolders): string[] {
  return group.folders.flatMap((folder) => filesIn(group, folder));
}

function filesIn(group: CgroupFolders, folder: string): string[] {
  if (group.version === 2) return [`${folder}/${group.controller === 'cpu' ? 'cpu.max' : 'memory.max'}`];
  if (group.controller === 'memory') return [`${folder}/memory.limit_in_bytes`];
  return [`${folder}/cpu.cfs_quota_us`, `${folder}/cpu.cfs_period_us`];
}

/**
 * The limits of a process: the tightest of its control group, every ancestor, and the CPUs that it may run on.
 * `texts` holds the files of {@link limitFiles} that could be read, by path.
 */
export function knownLimits(
  groups: readonly CgroupFolders[],
  texts: ReadonlyMap<string, string>,
  allowedCpus: number,
): KnownLimits {
  let cpus = Math.max(1, allowedCpus);
  let memoryBytes = Number.POSITIVE_INFINITY;
  for (const group of groups) {
    for (const folder of group.folders) {
      const [first, second] = filesIn(group, folder).map((path) => texts.get(path)?.trim());
      if (first === undefined) continue;
      if (group.controller === 'memory') {
        memoryBytes = Math.min(memoryBytes, parseBytes(first));
      } else {
        const [quota, period] = group.version === 2 ? first.split(/\s+/) : [first, second];
        cpus = Math.min(cpus, parseCpus(quota, period));
      }
    }
  }
  return memoryBytes < UNLIMITED_BYTES ? { cpus, memoryBytes } : { cpus };
}

/** Quota over period, both in microseconds: `150000 100000` is 1.5. `max`, -1 and nonsense are no limit. */
function parseCpus(quota: string | undefined, period: string | undefined): number {
  const ratio = Number(quota) / Number(period ?? '100000');
  return Number.isFinite(ratio) && ratio > 0 ? ratio : Number.POSITIVE_INFINITY;
}

function parseBytes(text: string): number {
  const bytes = /^\d+$/.test(text) ? Number(text) : Number.POSITIVE_INFINITY;
  return bytes < UNLIMITED_BYTES ? bytes : Number.POSITIVE_INFINITY;
}

/** CPUs in the line `Cpus_allowed_list` of `/proc/self/status`: `0-1,4` are three. Undefined without such a line. */
export function affinityCount(statusText: string): number | undefined {
  const list = /^Cpus_allowed_list:\s*(\S+)$/m.exec(statusText)?.[1];
  if (list === undefined) return undefined;
  let count = 0;
  for (const part of list.split(',')) {
    const [from, to] = part.split('-').map(Number);
    if (from === undefined || !Number.isInteger(from)) return undefined;
    count += (to ?? from) - from + 1;
  }
  return Number.isInteger(count) && count > 0 ? count : undefined;
}
