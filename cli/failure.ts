/**
 * Something that a person can put right: a file that isn't there, a server that doesn't answer, a request that
 * was refused. Shown as its message alone, without a stack; the command ends with exit code 1.
 */
export class CommandFailure extends Error {
  override readonly name = 'CommandFailure';
}

/** A combination of options that makes no sense: shown like the above, exit code 2. */
export class UsageMistake extends Error {
  override readonly name = 'UsageMistake';
}

export const EXIT = { ok: 0, failed: 1, usage: 2 } as const;

/** What all commands say at the end of their help. */
export const EXIT_CODES_HELP = 'Exit codes: 0 done, 1 failed, 2 wrong options or arguments.';

export const messageOf = (thrown: unknown): string =>
  thrown instanceof Error ? thrown.message : String(thrown);

const FILE_ERRORS: Readonly<Record<string, string>> = {
  ENOENT: 'there is no such file or folder',
  EACCES: 'no permission to read it',
  EISDIR: 'this is a folder; expected a file',
  ENOTDIR: 'a part of the path is no folder',
};

/** What went wrong with a file, in words. */
export function fileFailure(path: string, thrown: unknown): CommandFailure {
  const code = (thrown as NodeJS.ErrnoException).code ?? '';
  return new CommandFailure(`${path}: ${FILE_ERRORS[code] ?? messageOf(thrown)}`);
}
