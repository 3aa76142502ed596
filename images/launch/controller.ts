import { useCompiledCode } from './compiled-code.ts';

useCompiledCode('controller');
await import('../../controller/cluster.ts');
