import { defineConfig } from 'vitest/config';

const exclude = ['node_modules/**', 'coverage/**'];

// ONNX Runtime has a collector of usage data built in; the runtime turns it off for itself.
const env = { ORT_DISABLE_TELEMETRY: '1' };

export default defineConfig({
  test: {
    // What a request failed with is most of what is known of a failure that comes once in a hundred runs.
    chaiConfig: { truncateThreshold: 4_000 },
    projects: [
      {
        test: {
          name: 'unit',
          include: [
            '{client,contracts,crds,process,vision,controller,activator,runtime,cli,bench,charts,images}/**/*.test.ts',
            'e2e/structure/**/*.test.ts',
          ],
          exclude,
          pool: 'forks',
          env,
          testTimeout: 20_000,
        },
      },
      {
        test: {
          name: 'local',
          include: ['e2e/local/**/*.test.ts'],
          exclude: [...exclude, 'e2e/local/**/*.alone.test.ts'],
          pool: 'forks',
          env,
          // Two at a time: they wait for windows and deadlines more than they work, and two cores are soon full.
          maxWorkers: 2,
          testTimeout: 60_000,
          hookTimeout: 60_000,
        },
      },
      {
        test: {
          // What takes Go, Docker or a cluster: the chart, the images, and cases on real Kubernetes.
          name: 'cluster',
          include: ['e2e/{chart,cluster,images}/**/*.test.ts'],
          exclude,
          pool: 'forks',
          // Its helper container would be pulled; each test puts away what it started.
          env: { ...env, TESTCONTAINERS_RYUK_DISABLED: 'true' },
          fileParallelism: false,
          testTimeout: 120_000,
          // The first one to need a tool builds it.
          hookTimeout: 600_000,
        },
      },
      {
        test: {
          // What has to be over within a time that users are promised.
          name: 'alone',
          include: ['e2e/local/**/*.alone.test.ts'],
          exclude,
          pool: 'forks',
          env,
          fileParallelism: false,
          testTimeout: 60_000,
          hookTimeout: 60_000,
        },
      },
    ],
  },
});
