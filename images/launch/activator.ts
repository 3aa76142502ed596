import { useCompiledCode } from './compiled-code.ts';

useCompiledCode('activator');
await import('../../activator/main.ts');
