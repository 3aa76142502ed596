import { describe, expect, test } from 'vitest';
import { affinityCount, cgroupFolders, knownLimits, limitFiles } from './cpu-limit.ts';

const V2_MOUNT = '30 24 0:26 / /sys/fs/cgroup rw,nosuid shared:4 - cgroup2 cgroup2 rw,nsdelegate';
const V1_CPU = '32 31 0:29 / /sys/fs/cgroup/cpu,cpuacct rw,relatime shared:9 - cgroup cgroup rw,cpu,cpuacct';
const V1_MEMORY = '35 31 0:32 / /sys/fs/cgroup/memory rw,relatime - cgroup cgroup rw,memory';

/** Limits with the given files in place, as a process of 8 CPUs sees them. */
function limits(cgroup: string, mountinfo: string, files: Record<string, string>, affinity = 8) {
  return knownLimits(cgroupFolders(cgroup, mountinfo), new Map(Object.entries(files)), affinity);
}

describe('cgroup v2', () => {
  test('a container with its own namespace reads the limits at the mount point', () => {
    expect(
      limits('0::/\n', V2_MOUNT, {
        '/sys/fs/cgroup/cpu.max': '150000 100000\n',
        '/sys/fs/cgroup/memory.max': '536870912\n',
      }),
    ).toEqual({ cpus: 1.5, memoryBytes: 536_870_912 });
  });

  test('the tightest ancestor counts, for CPU and memory each on its own', () => {
    const group = '/sys/fs/cgroup/kubepods.slice/pod1.slice/container';
    expect(
      limits('0::/kubepods.slice/pod1.slice/container\n', V2_MOUNT, {
        [`${group}/cpu.max`]: 'max 100000',
        [`${group}/memory.max`]: '100000000',
        '/sys/fs/cgroup/kubepods.slice/pod1.slice/cpu.max': '50000 100000',
        '/sys/fs/cgroup/kubepods.slice/pod1.slice/memory.max': '200000000',
        '/sys/fs/cgroup/kubepods.slice/cpu.max': '400000 100000',
      }),
    ).toEqual({ cpus: 0.5, memoryBytes: 100_000_000 });
  });

  test('max is no limit, and a quota above the affinity does not add CPUs', () => {
    expect(
      limits('0::/a', V2_MOUNT, {
        '/sys/fs/cgroup/a/cpu.max': 'max 100000',
        '/sys/fs/cgroup/a/memory.max': 'max',
      }),
    ).toEqual({ cpus: 8 });
    expect(limits('0::/a', V2_MOUNT, { '/sys/fs/cgroup/a/cpu.max': '1600000 100000' }, 2)).toEqual({
      cpus: 2,
    });
  });

  test('a period other than 100 ms is taken into account', () => {
    expect(limits('0::/', V2_MOUNT, { '/sys/fs/cgroup/cpu.max': '20000 10000' })).toEqual({ cpus: 2 });
  });

  test('a group outside the namespace falls back to what the mount shows', () => {
    expect(limits('0::/../other', V2_MOUNT, { '/sys/fs/cgroup/cpu.max': '100000 100000' })).toEqual({
      cpus: 1,
    });
  });
});

describe('cgroup v1', () => {
  test('quota, period and memory come from the mount of each controller', () => {
    const files = {
      '/sys/fs/cgroup/cpu,cpuacct/docker/abc/cpu.cfs_quota_us': '250000\n',
      '/sys/fs/cgroup/cpu,cpuacct/docker/abc/cpu.cfs_period_us': '100000\n',
      '/sys/fs/cgroup/memory/docker/memory.limit_in_bytes': '1073741824\n',
      '/sys/fs/cgroup/memory/memory.limit_in_bytes': '9223372036854771712\n',
    };
    const cgroup = '9:name=systemd:/\n4:memory:/docker/abc\n2:cpu,cpuacct:/docker/abc\n';
    expect(limits(cgroup, `${V1_CPU}\n${V1_MEMORY}\n`, files)).toEqual({ cpus: 2.5, memoryBytes: 2 ** 30 });
  });

  test('without a namespace the path of the host is taken off where the mount begins with it', () => {
    const mount = V1_CPU.replace(' / /sys', ' /docker/abc /sys');
    expect(
      limits('2:cpu,cpuacct:/docker/abc', mount, {
        '/sys/fs/cgroup/cpu,cpuacct/cpu.cfs_quota_us': '100000',
        '/sys/fs/cgroup/cpu,cpuacct/cpu.cfs_period_us': '100000',
      }),
    ).toEqual({ cpus: 1 });
    expect(cgroupFolders('2:cpu,cpuacct:/docker/abcdef', mount)[0]?.folders).toEqual([
      '/sys/fs/cgroup/cpu,cpuacct',
    ]);
  });

  test('-1 and the largest page count are no limit', () => {
    expect(
      limits('1:cpu:/\n4:memory:/', `${V1_CPU}\n${V1_MEMORY}`, {
        '/sys/fs/cgroup/cpu,cpuacct/cpu.cfs_quota_us': '-1',
        '/sys/fs/cgroup/cpu,cpuacct/cpu.cfs_period_us': '100000',
        '/sys/fs/cgroup/memory/memory.limit_in_bytes': '9223372036854771712',
      }),
    ).toEqual({ cpus: 8 });
  });

  test('cpuacct and cpuset alone are not taken for cpu', () => {
    expect(cgroupFolders('2:cpuacct:/\n3:cpuset:/', V1_CPU)).toEqual([]);
  });
});

test('on a hybrid machine both hierarchies are looked at and the one with files decides', () => {
  const mounts = `${V1_CPU}\n${V2_MOUNT.replace('/sys/fs/cgroup ', '/sys/fs/cgroup/unified ')}`;
  const groups = cgroupFolders('1:cpu:/a\n0::/a', mounts);
  expect(groups.flatMap(limitFiles)).toContain('/sys/fs/cgroup/unified/a/cpu.max');
  expect(knownLimits(groups, new Map([['/sys/fs/cgroup/unified/a/cpu.max', '100000 100000']]), 4)).toEqual({
    cpus: 1,
  });
});

test('mount points with spaces are unescaped', () => {
  const mount = V2_MOUNT.replace('/sys/fs/cgroup ', '/odd\\040place ');
  expect(cgroupFolders('0::/', mount)[0]?.folders).toEqual(['/odd place']);
});

test('nonsense is no limit and never an error', () => {
  expect(limits('garbage\n::', 'x - y\n - \n', {})).toEqual({ cpus: 8 });
  expect(
    limits('0::/', V2_MOUNT, { '/sys/fs/cgroup/cpu.max': 'what', '/sys/fs/cgroup/memory.max': '-5' }),
  ).toEqual({ cpus: 8 });
  expect(limits('0::/', V2_MOUNT, { '/sys/fs/cgroup/cpu.max': '0 0' }, 0)).toEqual({ cpus: 1 });
});

test.each([
  ['Cpus_allowed_list:\t0-1', 2],
  ['Name:\tnode\nCpus_allowed_list:\t0-1,4,8-11\nx', 7],
  ['Cpus_allowed_list:\t3', 1],
  ['Cpus_allowed:\t3', undefined],
  ['Cpus_allowed_list:\tall', undefined],
])('affinity of %j is %s CPUs', (status, count) => {
  expect(affinityCount(status)).toBe(count);
});
