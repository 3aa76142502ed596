import { useCompiledCode } from './compiled-code.ts';

useCompiledCode('runtime');
