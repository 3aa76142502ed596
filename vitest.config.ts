import { defineConfig } from 'vitest/config';

const exclude = ['node_modules/**', 'coverage/**'];

export default defineConfig({
  test: {
    projects: [
      {
        test: {
          name: 'unit',
          include: [
            '{contracts,crds,process,controller,activator,runtime,cli,bench}/**/*.test.ts',
            'e2e/structure/**/*.test.ts',
          ],
          exclude,
          pool: 'forks',
          testTimeout: 20_000,
        },
      },
      {
        test: {
          name: 'local',
          include: ['e2e/local/**/*.test.ts'],
          exclude,
          pool: 'forks',
          fileParallelism: false,
          testTimeout: 60_000,
          hookTimeout: 60_000,
        },
      },
    ],
  },
});
