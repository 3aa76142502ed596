import { expect, test } from 'vitest';
import { engineKey, vectorFeatures } from './engine-key.ts';

test('of a processor’s flags those of its vector units count, in one order', () => {
  const flags = 'fpu vme sse2 smep ssse3 fma avx2 avx avx512f constant_tsc hypervisor avx_vnni amx_int8 avx';
  expect(vectorFeatures(flags)).toEqual('amx_int8 avx avx2 avx512f avx_vnni fma sse2 ssse3'.split(' '));
  expect(vectorFeatures('fp asimd evtstrm crc32 atomics fphp asimdhp cpuid sve i8mm bf16 sme')).toEqual(
    'asimd asimdhp bf16 fphp i8mm sme sve'.split(' '),
  );
});

test('the key names the engine that is installed and this machine’s architecture', () => {
  expect(engineKey()).toMatchObject({
    onnxRuntime: expect.stringMatching(/^\d+\.\d+\.\d+/),
    provider: 'cpu',
  });
  expect(engineKey().cpu.split(' ')[0]).toBe(process.arch);
});
