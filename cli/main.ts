import { enableCompileCache } from 'node:module';
import { becomeProgram, type ProgramName } from './commands/program.ts';

enableCompileCache();

const PROGRAMS: readonly string[] = ['controller', 'activator', 'runtime'] satisfies ProgramName[];
const [command, ...rest] = process.argv.slice(2);

if (command !== undefined && PROGRAMS.includes(command) && !rest.includes('--help') && !rest.includes('-h')) {
  becomeProgram(command as ProgramName, rest);
} else {
  const { runCommandLine } = await import('./command-line.ts');
  await runCommandLine(process.argv);
}
