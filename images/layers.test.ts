import { expect, test } from 'vitest';
import { packageFiles } from './layers.ts';

const names = (name: string): string[] =>
  packageFiles(name).map(({ path }) => path.slice(`app/node_modules/${name}/`.length));

test('the reader of images goes into the image with its native parts, and without types', () => {
  expect(names('sharp')).toEqual(
    expect.arrayContaining(['package.json', 'dist/index.mjs', 'dist/index.cjs']),
  );
  expect(names('sharp').filter((path) => /\.d\.|^src|^install/.test(path))).toEqual([]);
  expect(names(`@img/sharp-linux-${process.arch}`).some((path) => path.endsWith('.node'))).toBe(true);
  expect(
    names(`@img/sharp-libvips-linux-${process.arch}`).some((path) => path.includes('libvips-cpp.so')),
  ).toBe(true);
});
